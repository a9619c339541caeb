"""What would fail in training, found before training."""

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from rich.progress import track

from transfuse_keras.data.cache import fitted
from transfuse_keras.data.copies import find_copies, take_fingerprint, warn_of_lookalikes
from transfuse_keras.data.decode import is_turned
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.layouts.listing import describe_spacing
from transfuse_keras.data.readings import (
    describe_sample,
    gather,
    note_overlaps,
    read_as_trained,
    warn_of_masks,
)
from transfuse_keras.data.resize import IGNORED
from transfuse_keras.data.splits import NO_TRAINING, complete_splits
from transfuse_keras.errors import InputError, quantity
from transfuse_keras.files import format_table


@dataclass
class Report:
    """What `check` found.

    Attributes:
        errors: sentences, each beginning with a file, on what training refuses.
        warnings: sentences on what it does not refuse but a person may want to mend.
        notes: sentences on how the data will be used.
        splits: part -> list of Sample that can be read.
        pixels: sample name -> (pixels of the image, pixels of each class), at native size; those
            that the task ignores are not counted.
        ignored: sample name -> number of pixels that the task ignores.
        overlaps: sample name -> number of pixels in which drawn objects of different classes lie
            on one another.
        readings: how masks were read, in words -> files.
    """

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    splits: dict = field(default_factory=dict)
    pixels: dict = field(default_factory=dict)
    ignored: dict = field(default_factory=dict)
    overlaps: dict = field(default_factory=dict)
    readings: dict = field(default_factory=dict)

    def table(self, classes):
        """Lines of a table: samples, patients and frequency of the classes for each split."""
        header = ["split", "samples", "patients"]
        header += [f"{name}: % of pixels, of samples" for name in classes]
        rows = []
        for part, samples in self.splits.items():
            row = [part, str(len(samples)), str(len({sample.group for sample in samples}))]
            counts = [self.pixels[sample.name] for sample in samples]
            for i in range(len(classes)):
                share = sum(found[i] for _, found in counts) / max(sum(n for n, _ in counts), 1)
                shown = sum(found[i] > 0 for _, found in counts) / max(len(counts), 1)
                row.append(f"{100 * share:.2f}, {100 * shown:.1f}")
            rows.append(row)
        return format_table(header, rows)


def check(task, directory, spacing=None, masks=None, group=None):
    """Read all of a data set and list every problem.

    Args:
        task: Task.
        directory: folder in a known layout.
        spacing: (row, column) mm of images whose spacing is not known otherwise.
        masks, group: as of `find_samples`.

    Returns: Report.

    Raises: InputError if no layout fits.
    """
    listing = find_samples(task, directory, spacing, masks, group)
    report = Report(list(listing.errors), list(listing.warnings), list(listing.notes))
    try:
        splits = complete_splits(listing)
        report.notes += splits.notes
        report.warnings += splits.warnings
        report.errors += [] if splits["train"] else [f"{directory}: {NO_TRAINING}"]
    except InputError as error:
        report.errors.append(f"{directory}: {error}")
        splits = {"all": listing.samples}
    names = {sample.name: part for part, samples in splits.items() for sample in samples}
    listed = [sample for sample in listing.samples if sample.name in names]
    listed, splits = read_as_trained(report, task, listed, splits)
    prints = inspect_all(report, listed, task)
    errors, warnings = find_copies(splits, prints)
    report.errors += errors
    report.warnings += warnings + warn_of_lookalikes(splits, prints)
    report.splits = {
        part: [sample for sample in samples if sample.name in report.pixels]
        for part, samples in splits.items()
    }
    if turned := sum(is_turned(x.files[0]) for x in listed if x.files and task.field is None):
        report.notes.append(
            f"{quantity(turned, 'image')} turned upright, as EXIF says; masks are taken as drawn "
            "on the upright image."
        )
    warn_of_spacing(report, listed)
    warn_of_masks(report, task)
    trained = [sum(report.pixels[x.name][1]) for x in report.splits.get("train", ())]
    if trained and not any(trained):
        found = f"{directory}: the masks of all training images are empty."
        # where the augmentation is yet to be chosen, a training looks at them, and refuses
        (report.warnings if task.augmentation else report.errors).append(found)
    note_overlaps(report, task)
    report.errors, report.warnings = gather(report.errors), gather(report.warnings)
    if listed:
        report.notes.append(describe_spacing(listed))
    return report


def inspect_all(report, samples, task):
    """Read samples in parallel; fills `report`. Returns: name -> Fingerprint of those that can
    be."""

    def inspect(sample):
        try:
            image, masks = sample.read()
        except InputError as error:
            return error
        small = fitted(image, masks, sample, task.recipe.image_size, task.field)
        found = [np.count_nonzero(masks[..., i] == 1) for i in range(masks.shape[-1])]
        ignored = np.count_nonzero(masks[..., 0] == IGNORED)
        counted = masks[..., 0].size - ignored
        told, overlap = describe_sample(sample, task), sample.overlap() if sample.overlap else 0
        return take_fingerprint(small[0]), counted, found, ignored, told, overlap

    prints = {}
    with ThreadPoolExecutor() as pool:
        results = zip(samples, pool.map(inspect, samples), strict=True)
        quiet = not sys.stdout.isatty()
        for sample, result in track(results, "Reading", len(samples), disable=quiet):
            if isinstance(result, InputError):
                report.errors.append(str(result))
                continue
            prints[sample.name], size, found, report.ignored[sample.name], phrases, overlap = result
            report.overlaps[sample.name] = overlap
            report.pixels[sample.name] = size, found
            for phrase in phrases:
                report.readings.setdefault(phrase, []).append(sample.files[-1])
            if not any(found):
                file = sample.files[-1 if sample.overlap is None else 0]
                report.warnings.append(f"{file}: the mask is empty.")
    return prints


def warn_of_spacing(report, samples):
    """Warn of pixel spacings far from the usual one of the data set."""
    known = [sample for sample in samples if sample.spacing]
    usual = median(sample.spacing[-1] for sample in known) if known else None
    for sample in known:
        if not usual / 3 < sample.spacing[-1] < usual * 3:
            report.warnings.append(
                f"{sample.files[0]}: its spacing is {sample.spacing[-1]:g} mm, unlike the usual "
                f"{usual:g} mm."
            )
