"""Splitting samples so that no patient is on two sides."""

import itertools
import logging

import numpy as np

from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.layouts.listing import describe_spacing
from transfuse_keras.data.samples import SPLITS, phantom_samples
from transfuse_keras.errors import InputError

log = logging.getLogger(__name__)


def complete_splits(samples):
    """Divide samples as their data set says, and by patient where it does not.

    Args:
        samples: list of Sample, as a layout found them.

    Returns: {"train", "val", "test"} -> list of Sample, and a sentence on what was chosen here.
    A data set that names no split, or training only, is divided 7:1:2. Without validation, an
    eighth of the training patients is held out; without a test set the validation set is scored.

    Raises: InputError if there are too few patients.
    """
    named = {
        part: [sample for sample in samples if sample.split == part]
        for part in SPLITS
        if any(sample.split == part for sample in samples)
    }
    if set(named) <= {"train"}:
        return split_by_group(samples), "Split 7:1:2 by patient."
    if set(named) == {"train", "test"}:
        halves = split_by_group(named["train"], {"train": 7, "val": 1})
        return {**halves, "test": named["test"]}, (
            "The data names no validation split: an eighth of the training patients is held out."
        )
    if set(named) == {"train", "val"}:
        return {**named, "test": named["val"]}, (
            "The data names no test split: the validation images, which also choose the best "
            "epoch, are scored, so scores flatter."
        )
    return {part: named.get(part, []) for part in SPLITS}, "Split as the data says."


def split_fold(samples, index, count):
    """The splits of one fold of a cross-validation.

    The sorted groups are shuffled with nnU-Net's seed and divided into `count` parts as
    scikit-learn's KFold(shuffle=True, random_state=12345) does; part `index` is tested on, an
    eighth of the other groups chooses the best epoch.

    Args:
        samples: list of Sample.
        index: from 0 to count - 1.
        count: number of folds.

    Returns: {"train", "val", "test"} -> list of Sample.

    Raises: InputError if there are too few patients.
    """
    groups = sorted({sample.group for sample in samples})
    if len(groups) < max(count, 2) or count < 2:
        raise InputError(f"{len(groups)} patients cannot be divided into {count} folds.")
    order = np.arange(len(groups))
    np.random.RandomState(12345).shuffle(order)
    held_out = {groups[i] for i in np.array_split(order, count)[index]}
    rest = [sample for sample in samples if sample.group not in held_out]
    parts = split_by_group(rest, {"train": 7, "val": 1})
    return {**parts, "test": [sample for sample in samples if sample.group in held_out]}


def split_by_group(samples, ratio=SPLITS):
    """Divide samples by group, in the given ratio.

    The groups are shuffled with a fixed seed: the split depends on the data alone, so runs with
    other training seeds are scored on the same samples. Every part has at least one group.

    Args:
        samples: list of Sample.
        ratio: part -> its share; the first takes what rounding leaves.

    Returns: part -> list of Sample, in the order given.

    Raises: InputError with fewer groups than parts.
    """
    groups = sorted({sample.group for sample in samples})
    if len(groups) < len(ratio):
        raise InputError(
            f"{len(groups)} patients ({', '.join(groups)}) cannot be split into "
            f"{', '.join(ratio)}; give at least {len(ratio)}, in groups.csv (stem,group) or named "
            "before the first '_' of each file."
        )
    np.random.default_rng(0).shuffle(groups)
    total = sum(ratio.values())
    parts, start = {}, 0
    for part in list(ratio)[1:]:
        end = start + max(1, round(len(groups) * ratio[part] / total))
        parts[part] = set(groups[start:end])
        start = end
    parts = {next(iter(ratio)): set(groups[start:]), **parts}
    return {
        part: [sample for sample in samples if sample.group in members]
        for part, members in parts.items()
    }


def find_splits(task, directory=None, image_size=None, seed=0, spacing=None, fold=None):
    """The samples of a task, split.

    Args:
        task: Task.
        directory: folder in a known layout, or None for phantoms.
        image_size: (height, width) of the phantoms; images from a folder keep their own.
        seed: of the phantoms.
        spacing: (row, column) mm of images whose spacing is not known otherwise.
        fold: (index, count) of a cross-validation, which splits all samples anew.

    Returns: {"train", "val", "test"} -> list of Sample. Warnings about the folder are printed.

    Raises: InputError if the folder cannot be used; see `transfuse check` for a full list.
    """
    if directory is not None:
        listing = find_samples(task, directory, spacing)
        if listing.errors:
            more = len(listing.errors) - 1
            hint = f" (and {more} more, listed by `transfuse check`)" if more else ""
            raise InputError(listing.errors[0] + hint)
        if fold is None:
            splits, note = complete_splits(listing.samples)
        else:
            splits = split_fold(listing.samples, *fold)
            note = f"Fold {fold[0] + 1} of {fold[1]} by patient."
        for warning in listing.warnings:
            log.warning(warning)
        log.info(note)
        log.info(describe_spacing(listing.samples))
        return splits
    recipe = task.phantom_recipe
    if recipe is None:
        raise InputError(f"The task {task.name} has no phantoms; give --data DIR.")
    size = tuple(image_size or recipe.image_size)
    if fold is not None:
        return split_fold(phantom_samples(task, size, seed, range(sum(recipe.counts))), *fold)
    ends = list(itertools.accumulate(recipe.counts, initial=0))
    return {
        part: phantom_samples(task, size, seed, range(start, end))
        for part, (start, end) in zip(SPLITS, itertools.pairwise(ends), strict=True)
    }
