"""A folder looked at: from its files to the Facts that a plan is made from."""

import keyword
import logging
import re
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from transfuse_keras.data.cache import count_images
from transfuse_keras.data.classes import find_classes
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.measured import measure_all
from transfuse_keras.data.splits import NO_TRAINING, complete_splits, refuse_errors
from transfuse_keras.data.symmetry import find_sides, find_symmetry
from transfuse_keras.errors import InputError
from transfuse_keras.tasks.facts import Facts
from transfuse_keras.tasks.plan import choose_augmentation
from transfuse_keras.tasks.task import Task
from transfuse_keras.tasks.wording import describe_changes

log = logging.getLogger(__name__)

EDGES = 0.02  # share of labelled pixels in two classes, up to which they are edges that two share
REACH_SHOWN = 1.5  # slices show so many times what their labels reach from the centre


def survey(directory, spacing=None, masks=None, group=None):
    """Look at a data set.

    Args:
        directory: folder in a known layout.
        spacing: (row, column) mm of images whose spacing is not known otherwise.
        masks, group: as of `find_samples`.

    Returns: Facts. Training images alone are measured.

    Raises: InputError if no layout fits, a file cannot be read, or there is nothing to learn.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise InputError(f"{directory}: no such folder.")
    classes = find_classes(directory, masks)
    volumes = classes is not None and classes.channels is not None
    task = Task(
        name_of(directory),
        classes.names if classes else ("any",),
        channels=classes.channels if volumes else 3,
        field=(1.0, 1.0) if volumes else None,
        ignore=classes and classes.ignore,
    )
    listing = find_samples(task, directory, spacing, masks, group)  # says what it looked for
    refuse_errors(listing)
    splits = complete_splits(listing)
    if not splits["train"]:
        raise InputError(f"{directory}: {NO_TRAINING}")
    measured = measure_all(splits["train"])
    task = replace(task, mirror_pairs=find_sides(task.classes, stack_maps(measured))[0])
    facts = collect_facts(task, splits["train"], measured)
    own_test = splits["test"] is not splits["val"]
    field, size = show_field(measured) if volumes else (None, facts.size)
    return replace(
        facts,
        found=classes.found,
        counts=(len(splits["train"]), len(splits["val"]), len(splits["test"]) * own_test),
        patients=len({sample.group for sample in listing.samples}) if listing.patients else None,
        field=field,
        size=size,
        notes=(*listing.notes, *splits.notes, *listing.warnings, *splits.warnings),
    )


def fix_augmentation(task, samples):
    """A Task whose augmentation is decided: its own, or that of its kind of picture, which is said.

    Args:
        task: Task.
        samples: list of Sample, for training.

    Raises: InputError as `measure_all`.
    """
    if task.augmentation is not None:
        return task
    augmentation, kind, why = choose_augmentation(
        collect_facts(task, samples, measure_all(samples))
    )
    task = replace(task, augmentation=augmentation)
    log.info(
        f"The task names no augmentation, so that of {kind} is taken ({why}): "
        f"{describe_changes(task)}."
    )
    return task


def collect_facts(task, samples, measured):
    """The Facts on a task's training samples, of which some were measured."""
    maps = stack_maps(measured)
    areas, widths = (
        np.concatenate(x) for x in zip(*[(x.areas, x.widths) for x in measured], strict=True)
    )
    spacings = [one.spacing for one in measured if one.spacing]
    return Facts(
        task.name,
        task.classes,
        "the task",
        count_images(samples),
        (len(samples), 0, 0),
        size=tuple(map(int, np.median([one.shape for one in measured], axis=0))),
        grey=all(one.grey for one in measured),
        bits=16 if any(one.deep for one in measured) else 8,
        spacing=tuple(map(median, zip(*spacings, strict=True))) if spacings else None,
        objects=median(count for one in measured for count in one.objects),
        widths=tuple(float(np.median(x[x > 0])) if x.any() else 0.0 for x in widths.T),
        areas=tuple(map(float, areas.mean(axis=0))),
        shown=tuple(map(float, (areas > 0).mean(axis=0))),
        filled=float(areas.any(axis=1).mean()),
        overlap=max(one.overlap for one in measured) > EDGES,
        mirror_pairs=task.mirror_pairs,
        sided=find_sides(task.classes, maps)[1] or lacks_pairs(task),
        symmetry=find_symmetry(task.classes, task.mirror_pairs, maps),
        channels=task.channels,
        field=task.field,
        ignore=task.ignore,
    )


def lacks_pairs(task):
    """Whether classes are called left and right, but the task does not say that they are pairs."""
    named, _ = find_sides(task.classes, [])
    return not set(map(frozenset, named)) <= set(map(frozenset, task.mirror_pairs))


def stack_maps(measured):
    return [small for one in measured for small in one.maps]


def show_field(measured):
    """(height, width) in mm that the slices of volumes should show, and the same in pixels of the
    usual spacing."""
    spacings = np.array([one.spacing for one in measured])
    reach = REACH_SHOWN * spacings * [one.reach for one in measured]
    extent = spacings * [one.shape for one in measured]
    field = np.ceil(np.minimum(reach.max(axis=0), extent.max(axis=0)))
    pixels = np.round(field / np.median(spacings, axis=0))
    return tuple(map(float, field)), tuple(map(int, pixels))


def name_of(directory):
    """The name of a folder as a Python name in small letters."""
    name = re.sub(r"\W+", "_", directory.resolve().name.lower(), flags=re.ASCII).strip("_")
    return f"data_{name}" if not name.isidentifier() or keyword.iskeyword(name) else name
