"""What would fail in training, found before training."""

import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from rich.progress import track

from transfuse_keras.data.cache import fitted, read_fitted
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.layouts.listing import describe_spacing
from transfuse_keras.data.splits import complete_splits
from transfuse_keras.errors import InputError
from transfuse_keras.files import format_table


@dataclass
class Report:
    """What `check` found.

    Attributes:
        errors: sentences, each beginning with a file, on what training refuses.
        warnings: sentences on what it does not refuse but a person may want to mend.
        notes: sentences on how the data will be used.
        splits: part -> list of Sample that can be read.
        pixels: sample name -> (pixels of the image, pixels of each class), at native size.
    """

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    splits: dict = field(default_factory=dict)
    pixels: dict = field(default_factory=dict)

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


def check(task, directory, spacing=None):
    """Read all of a data set and list every problem.

    Args:
        task: Task.
        directory: folder in a known layout.
        spacing: (row, column) mm of images whose spacing is not known otherwise.

    Returns: Report.

    Raises: InputError if no layout fits.
    """
    listing = find_samples(task, directory, spacing)
    report = Report(list(listing.errors), list(listing.warnings))
    try:
        splits, note = complete_splits(listing.samples)
        report.notes.append(note)
    except InputError as error:
        report.errors.append(f"{directory}: {error}")
        splits = {"all": listing.samples}
    names = {sample.name: part for part, samples in splits.items() for sample in samples}
    listed = [sample for sample in listing.samples if sample.name in names]
    digests = inspect_all(report, listed, task)
    errors, warnings = find_copies(splits, digests)
    report.errors += errors
    report.warnings += warnings
    report.splits = {
        part: [sample for sample in samples if sample.name in report.pixels]
        for part, samples in splits.items()
    }
    warn_of_spacing(report, listed)
    if listed:
        report.notes.append(describe_spacing(listed))
    return report


def inspect_all(report, samples, task):
    """Read samples in parallel; fills `report`. Returns: name -> digest of those that can be."""

    def inspect(sample):
        try:
            image, masks = sample.read()
        except InputError as error:
            return error
        small = fitted(image, masks, sample, task.recipe.image_size, task.field)
        found = masks.sum(axis=tuple(range(masks.ndim - 1)), dtype="int64")
        return digest(small[0]), masks[..., 0].size, found.tolist()

    digests = {}
    with ThreadPoolExecutor() as pool:
        results = zip(samples, pool.map(inspect, samples), strict=True)
        quiet = not sys.stdout.isatty()
        for sample, result in track(results, "Reading", len(samples), disable=quiet):
            if isinstance(result, InputError):
                report.errors.append(str(result))
                continue
            digests[sample.name], size, found = result
            report.pixels[sample.name] = size, found
            if not any(found):
                report.warnings.append(f"{sample.files[-1]}: the mask is empty.")
    return digests


def digest(image):
    """A fingerprint of the pixels of an image at training size."""
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).hexdigest()


def compute_digests(samples, images=None, size=None, field=None):
    """Name -> digest of samples; `images` are theirs as `read_resized` gives them, else they are
    read, in parallel: raises the InputError of the first bad one."""
    if images is not None:
        ends = np.cumsum([sample.slices or 1 for sample in samples])
        parts = np.split(np.arange(len(images)), ends[:-1])
        return {
            sample.name: digest(images[rows[0] : rows[-1] + 1])
            for sample, rows in zip(samples, parts, strict=True)
        }
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda sample: digest(read_fitted(sample, size, field)[0]), samples)
        return {sample.name: value for sample, value in zip(samples, found, strict=True)}


def find_copies(splits, digests):
    """Images with the same pixels: (errors on those in two splits, warnings on others)."""
    seen, errors, warnings = {}, [], []
    done = set()
    for part, samples in splits.items():
        for sample in samples:
            if sample.name in done or sample.name not in digests:
                continue  # a validation set that is scored too is no copy
            done.add(sample.name)
            first, first_part = seen.setdefault(digests[sample.name], (sample, part))
            file, other = (x.files[0] if x.files else x.name for x in (sample, first))
            if first is not sample and first_part != part:
                errors.append(
                    f"{file}: is the same image as {other}, but one is in the {part} split and "
                    f"the other in {first_part}; remove one."
                )
            elif first is not sample:
                warnings.append(f"{file}: is the same image as {other}.")
    return errors, warnings


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
