"""Splitting samples so that no patient is on two sides."""

import hashlib
import itertools
import logging
import re
import unicodedata
from collections import Counter, defaultdict

from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.layouts.listing import describe_spacing
from transfuse_keras.data.samples import SPLITS, phantom_samples
from transfuse_keras.errors import InputError, quantity

log = logging.getLogger(__name__)

NNUNET_SEED = 12345  # of its folds
CAUTION = (
    "Nothing tells which images are of one patient. If a patient has several, they may be used in "
    "training and in testing, and the scores are then optimistic; --group or a groups.csv "
    "(stem,group) tells the patients."
)
NO_TRAINING = "has no images to train on: all are in its test or validation split."


class Splits(dict):
    """part -> list of Sample, with the attribute `notes`: sentences on how they were divided.

    A sentence of `warnings` says what a reader of the scores has to know of that.
    """

    def __init__(self, parts, notes=(), warnings=()):
        super().__init__(parts)
        self.notes, self.warnings = list(notes), list(warnings)


def complete_splits(listing):
    """Divide samples as their data set says, and by patient where it does not.

    Args:
        listing: Listing, as a layout found it.

    Returns: Splits into "train", "val" and "test".
    A data set that names no split, or training only, is divided 7:1:2. Without validation, an
    eighth of the training patients is held out; without a test set the validation set is scored.
    Without training images, those in no split are trained on; else they are not used.

    Raises: InputError if there are too few of them.
    """
    samples, unit = listing.samples, name_unit(listing)
    named = {part: [x for x in samples if x.split == part] for part in SPLITS}
    named = {part: found for part, found in named.items() if found}
    if set(named) <= {"train"}:
        parts = split_by_group(samples, unit=unit)
        note = f"Split 7:1:2 by {unit}: {count_groups(parts, unit)}."
        return Splits(parts, [note], [CAUTION] if unit == "image" else [])
    rest = [sample for sample in samples if sample.split is None]
    if not rest:
        return divide_named(named, unit)
    number = quantity(len(rest), "image" if unit == "patient" else unit)
    where = f"{number}, such as {rest[0].name}"
    if "train" not in named:
        splits = divide_named({"train": rest, **named}, unit)
        splits.notes.insert(0, f"What the data puts into no split is for training: {where}.")
        return splits
    splits = divide_named(named, unit)
    splits.warnings.append(f"Not used, as it is in no split: {where}.")
    return splits


def divide_named(named, unit):
    """Splits of a data set that names them, part -> list of Sample, more than training."""
    if set(named) == {"train", "test"}:
        divided = split_by_group(named["train"], {"train": 7, "val": 1}, unit=unit)
        parts = {**divided, "test": named["test"]}
        note = (
            f"The data names no validation split: an eighth of the training {unit}s is held out: "
            f"{count_groups(parts, unit)}."
        )
        return Splits(parts, [note], find_shared(named, unit))
    if set(named) == {"train", "val"}:
        note = (
            "The data names no test split: the validation images, by which the best epoch, "
            "thresholds and components are chosen, are scored, so the scores are optimistic."
        )
        return Splits({**named, "test": named["val"]}, [note], find_shared(named, unit))
    parts = {part: named.get(part, []) for part in SPLITS}
    return Splits(parts, ["Split as the data says."], find_shared(named, unit))


def refuse_errors(listing):
    """Raise InputError with the first error of a Listing, if it has any."""
    if listing.errors:
        more = len(listing.errors) - 1
        hint = f" (and {more} more, listed by `transfuse check`)" if more else ""
        raise InputError(listing.errors[0] + hint)


def find_shared(named, unit):
    """A warning for each two splits of a data set that share patients."""
    if unit != "patient":
        return []
    groups = {part: {sample.group for sample in samples} for part, samples in named.items()}
    return [
        f"The splits {first} and {second} share {quantity(len(shared), 'patient')}, such as "
        f"{min(shared)}: scores are optimistic."
        for first, second in itertools.combinations(groups, 2)
        if (shared := groups[first] & groups[second])
    ]


def name_unit(listing):
    """What the groups of a Listing are: "patient", "volume" or "image"."""
    if listing.patients:
        return "patient"
    volumes = any(sample.slices is not None for sample in listing.samples)
    return "volume" if volumes else "image"


def count_groups(parts, unit):
    """How many groups each part has: "14 images in train, 1 image in val, 5 images in test"."""
    counts = {name: len({sample.group for sample in part}) for name, part in parts.items()}
    return ", ".join(f"{quantity(n, unit)} in {name}" for name, n in counts.items())


def split_fold(samples, index, count, unit="patient"):
    """The splits of one fold of a cross-validation.

    Volumes: the sorted groups are divided by scikit-learn's KFold with nnU-Net's seed, so that
    folds are those of nnU-Net. Images: StratifiedGroupKFold with the same seed keeps groups
    together and balances the kinds of images (`kinds_of`). An eighth of the other groups chooses
    the best epoch.

    Args:
        samples: list of Sample.
        index: from 0 to count - 1.
        count: number of folds.
        unit: what the groups are, for messages.

    Returns: {"train", "val", "test"} -> list of Sample.

    Raises: InputError if there are too few groups.
    """
    groups = sorted({sample.group for sample in samples})
    if len(groups) < max(count, 2) or count < 2:
        raise InputError(f"{quantity(len(groups), unit)} cannot be divided into {count} folds.")
    held_out = fold_groups(samples, groups, count)[index]
    rest = [sample for sample in samples if sample.group not in held_out]
    parts = split_by_group(rest, {"train": 7, "val": 1}, unit=unit)
    return {**parts, "test": [sample for sample in samples if sample.group in held_out]}


def fold_groups(samples, groups, count):
    """The set of groups that each fold tests on."""
    from sklearn.model_selection import KFold, StratifiedGroupKFold  # seconds, needed here only

    options = {"n_splits": count, "shuffle": True, "random_state": NNUNET_SEED}
    if any(sample.slices is not None for sample in samples):
        return [{groups[i] for i in test} for _, test in KFold(**options).split(groups)]
    samples = sorted(samples, key=lambda sample: sample.name)
    names = [sample.group for sample in samples]
    folds = StratifiedGroupKFold(**options).split(names, kinds_of(samples, count), names)
    return [{names[i] for i in test} for _, test in folds]


def kinds_of(samples, count):
    """What each sample is by its name up to the first digit: its test set, or a word such as
    benign. Kinds with fewer than `count` samples are taken as the most common one."""
    kinds = [re.match(r"\D*", sample.name).group() for sample in samples]
    found = Counter(kinds)
    common = min(found, key=lambda kind: (-found[kind], kind))
    return [kind if found[kind] >= count else common for kind in kinds]


def split_by_group(samples, ratio=SPLITS, seed=0, unit="patient"):
    """Divide samples by group, in about the given ratio.

    The part of a group depends on its name and the seed alone: samples that are added later move
    no other, and runs with other training seeds are scored on the same samples. So the ratio holds
    on average. Where a part would be empty, it gets the group that is nearest to it; only then can
    a later sample move another.

    Args:
        samples: list of Sample.
        ratio: part -> its share.
        seed: of the split.
        unit: what the groups are, for messages.

    Returns: part -> list of Sample, in the order given.

    Raises: InputError with fewer groups than parts.
    """
    groups = {sample.group for sample in samples}
    if len(groups) < len(ratio):
        remedy = ", or --group none to divide by image" if unit == "patient" else ""
        raise InputError(
            f"{quantity(len(groups), unit)} ({', '.join(sorted(groups))}) cannot be split into "
            f"{', '.join(ratio)}; give at least {len(ratio)}{remedy}."
        )
    total = sum(ratio.values())
    ends = [end / total for end in itertools.accumulate(ratio.values(), initial=0)]
    ranges = dict(zip(ratio, itertools.pairwise(ends), strict=True))
    places = {group: place_of(group, seed) for group in groups}
    parts = {
        group: next(part for part, (_, end) in ranges.items() if place < end)
        for group, place in places.items()
    }
    for part, (low, high) in ranges.items():
        if part not in parts.values():
            members = defaultdict(list)
            for group, found in parts.items():
                members[found].append(group)
            spare = [group for found in members.values() if len(found) > 1 for group in found]
            distance = {x: (max(low - places[x], places[x] - high), x) for x in spare}
            parts[min(spare, key=distance.get)] = part
    return {part: [sample for sample in samples if parts[sample.group] == part] for part in ratio}


def place_of(name, seed):
    """A number from 0 to below 1 that is a function of a name and a seed, and of nothing else."""
    name = unicodedata.normalize("NFC", name)  # macOS may store an accent as a letter of its own
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48


def limit_samples(samples, limit, seed=0):
    """At most `limit` samples, from as many groups as can be.

    One sample of each group is taken in turn, groups and samples in an order that depends on their
    names and the seed alone.

    Args:
        samples: list of Sample.
        limit: None for all.
        seed: integer.

    Returns: list of Sample, in the order given.
    """
    if limit is None or limit >= len(samples):
        return list(samples)
    taken, turns = defaultdict(int), []
    for sample in sorted(samples, key=lambda x: place_of(x.name, seed)):
        turns.append((taken[sample.group], place_of(sample.group, seed), sample.name))
        taken[sample.group] += 1
    chosen = {name for *_, name in sorted(turns)[:limit]}
    return [sample for sample in samples if sample.name in chosen]


def find_splits(
    task,
    directory=None,
    image_size=None,
    seed=0,
    spacing=None,
    fold=None,
    masks=None,
    group=None,
):
    """The samples of a task, split.

    Args:
        task: Task.
        directory: folder in a known layout, or None for phantoms.
        image_size: (height, width) of the phantoms; images from a folder keep their own.
        seed: of the phantoms.
        spacing: (row, column) mm of images whose spacing is not known otherwise.
        fold: (index, count) of a cross-validation, which splits all samples anew.
        masks, group: as of `find_samples`.

    Returns: Splits into "train", "val" and "test". Its sentences are logged.

    Raises: InputError if the folder cannot be used; see `transfuse check` for a full list.
    """
    if directory is not None:
        listing = find_samples(task, directory, spacing, masks, group)
        refuse_errors(listing)
        if fold is None:
            splits = complete_splits(listing)
        else:
            unit = name_unit(listing)
            note = f"Fold {fold[0]} (of 0 to {fold[1] - 1}) by {unit}."
            warnings = [CAUTION] if unit == "image" else []
            splits = Splits(split_fold(listing.samples, *fold, unit), [note], warnings)
        splits.notes[:0] = listing.notes
        for note in [*splits.notes, describe_spacing(listing.samples)]:
            log.info(note)
        for warning in [*listing.warnings, *splits.warnings]:
            log.warning(warning)
        return splits
    recipe = task.phantom_recipe
    if recipe is None:
        raise InputError(f"The task {task.name} has no phantoms; give --data DIR.")
    size = tuple(image_size or recipe.image_size)
    if fold is not None:
        cases = phantom_samples(task, size, seed, range(sum(recipe.counts)))
        return Splits(split_fold(cases, *fold))
    ends = list(itertools.accumulate(recipe.counts, initial=0))
    return Splits(
        {
            part: phantom_samples(task, size, seed, range(start, end))
            for part, (start, end) in zip(SPLITS, itertools.pairwise(ends), strict=True)
        }
    )
