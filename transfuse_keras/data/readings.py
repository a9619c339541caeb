"""What `check` says of masks: how they were read, and what masks seldom mean."""

import re
from pathlib import Path

import numpy as np

from transfuse_keras.data.dicom_masks import describe_segmentation
from transfuse_keras.data.kinds import is_dicom
from transfuse_keras.data.masks import describe_masks
from transfuse_keras.data.value_range import describe_ranges, find_value_ranges, read_with
from transfuse_keras.errors import quantity

MANY = 5  # so many sentences that say the same become one
MOSTLY = 0.9  # share of the images that makes a rule
PLAIN = {"0 and 1", "0 and 255", "labels"}  # readings that need no word


def describe_sample(sample, task):
    """How the mask files of a sample are read, in words; of volumes, arrays and
    outlines nothing."""
    files = sample.files[1:]
    drawn = sample.overlap is not None
    if task.field is not None or drawn or any(file.suffix == ".npy" for file in files):
        return []
    if files and is_dicom(files[0]):
        return [describe_segmentation(file) for file in files]
    return describe_masks(files, task.classes, task.ignore)


def read_as_trained(report, task, listed, splits):
    """Samples and splits that read images as a training would, which is noted: with one range,
    that of the training images."""
    found = find_value_ranges(task, splits.get("train", listed))
    report.notes += describe_ranges(found)
    bound = {x.name: x for x in read_with(listed, found)}
    return list(bound.values()), {
        part: [bound[sample.name] for sample in samples] for part, samples in splits.items()
    }


def warn_of_masks(report, task):
    """Warn of masks that are full, mostly foreground or all empty, and of files that differ; note
    how masks were read where there was a choice, and how many pixels are ignored."""
    rows = [(size, found, report.ignored[name]) for name, (size, found) in report.pixels.items()]
    if not rows:
        return
    for i, name in enumerate(task.classes):
        shares = np.array([found[i] / max(size, 1) for size, found, _ in rows])
        warn_of_shares(report, shares, "" if len(task.classes) == 1 else f" of {name}")
    compare_readings(report)
    if task.ignore is not None:
        total = sum(size + ignored for size, _, ignored in rows)
        left_out = sum(ignored for *_, ignored in rows)
        shown = sum(ignored > 0 for *_, ignored in rows)
        report.notes.append(
            f"Ignored (value {task.ignore}): {left_out} pixels, {100 * left_out / total:.2f} % of "
            f"all, in {shown} of {len(rows)} images."
        )


def note_overlaps(report, task):
    """Note how many pixels objects of different classes share, and who has them."""
    shared = [pixels for pixels in report.overlaps.values() if pixels]
    if shared:
        how = "belong to what was drawn last" if task.exclusive else "belong to all of them"
        report.notes.append(
            f"Where objects of several classes overlap, pixels {how}: {sum(shared)} pixels in "
            f"{quantity(len(shared), 'image')}."
        )


def warn_of_shares(report, shares, which):
    """Warn of the shares of pixels that the masks of one class cover, one an image."""
    large, count = np.count_nonzero(shares > 0.5), len(shares)
    if count < 2:
        return
    if (shares == 1).all():
        report.warnings.append(
            f"Every mask{which} is full: all pixels of all {count} images are foreground. Is this "
            "a field of view instead of the truth?"
        )
    elif large >= MOSTLY * count:
        report.warnings.append(
            f"The masks{which} cover more than half of the image in {large} of {count} images: "
            "are they inverted?"
        )
    elif not shares.any():
        report.warnings.append(f"Every mask{which} is empty, in all {count} images.")


def compare_readings(report):
    """Note how masks were read if that is not plain, and warn if it differs from file to file."""
    told = [f"{len(files)} as {phrase}" for phrase, files in sorted(report.readings.items())]
    # soft edges are no other kind of file
    kinds = {x.replace("values from 0 to", "0 and").partition(",")[0] for x in report.readings}
    if len(kinds) > 1:
        examples = [f"{files[0]} ({phrase})" for phrase, files in sorted(report.readings.items())]
        report.warnings.append(
            f"The mask files differ in kind: {', '.join(told)}; such as {', '.join(examples)}. Are "
            "they of one source?"
        )
    elif set(report.readings) - PLAIN:
        report.notes.append(f"Masks read: {'; '.join(told)}.")


def gather(lines):
    """Sentences, of which those that say the same of MANY files or more become one, with their
    number and an example. Sentences on files are the same if only files and numbers differ."""
    alike = {}
    for line in lines:
        where, _, what = line.partition(": ")
        file = {"/", "\\"} & set(where) or (Path(where).suffix and " " not in where)
        if not what or not file:
            alike[line] = [line]
            continue
        stem = Path(where).stem
        what = re.sub(r"\S*/\S*", "FILE", what)
        what = what.replace(stem, "FILE") if stem else what
        alike.setdefault(re.sub(r"\d[\d.]*", "N", what), []).append(line)
    gathered = []
    for group in alike.values():
        if len(group) >= MANY:
            gathered.append(f"{group[0]} In all, {len(group)} files have this fault.")
        else:
            gathered += group
    return gathered
