"""The samples of a run: those of its own splits, and which samples of any folder it has seen."""

import logging
from collections import defaultdict
from dataclasses import replace

import numpy as np

from transfuse_keras.data.copies import share_bits, take_fingerprints
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.splits import find_splits
from transfuse_keras.runs.folder import SPLIT, own_data, read_config, read_split, write_split

log = logging.getLogger(__name__)

VAL_AND_TEST = "val and test"  # where the data has no test split, see `complete_splits`
SAME_LOOK = 1  # bits that differ; of 60 renamed, shrunk JPEG copies 37 to 56 have no more
SAME_PICTURE = 0.85  # share of equal bits: the same picture, stored in another way


def own_samples(task, run, part):
    """The samples of a split of the run's own data, by its split.csv."""
    if own_data(run) is None:
        return own_splits(task, run)[part]
    groups = {row["sample"]: row["group"] for row in read_split(run) if row["split"] == part}
    samples = own_listing(task, run).samples
    found = [replace(x, group=groups[x.name]) for x in samples if x.name in groups]
    if lost := groups.keys() - {sample.name for sample in found}:
        log.warning(
            f"{own_data(run)}: of the {len(groups)} {part} samples of the run {len(lost)} cannot "
            f"be found any more, such as {min(lost)}."
        )
    return found


def own_splits(task, run):
    """The phantoms of a run."""
    config = read_config(run)
    size, fold = tuple(config["recipe"]["image_size"]), config.get("fold")
    return find_splits(task, None, size, config["seed"], fold=fold and tuple(fold))


def own_listing(task, run):
    """Listing of all of the folder that a run was trained on."""
    config = read_config(run)
    spacing = config.get("spacing") and tuple(config["spacing"])
    return find_samples(task, own_data(run), spacing, config.get("masks"), config.get("group"))


def complete_split(run, splits, size, field):
    """Write by what images are recognised, where no process of the training has read them all.

    Args:
        run: Path of the run folder.
        splits: part -> list of Sample.
        size: (height, width) of the training.
        field: of the task.
    """
    if not any(row["digest"] for row in read_split(run)):
        samples = {x.name: x for part in splits.values() for x in part}.values()
        prints = take_fingerprints(samples, size=size, field=field)
        write_split(run / SPLIT, splits, prints)


def recognize(task, run, samples):
    """Which samples a run has seen, wherever their files lie now.

    A sample is known by the digest of its pixels, or by its name if its picture is nearly the
    same. Of an older run, which kept no digests, samples are known by name, and only if all names
    of its data are there. If most others look just like images of the run, a warning says so.

    Args:
        task: Task.
        run: Path of the run folder.
        samples: list of Sample, of any folder.

    Returns: sample name -> the split of the run that the sample was in, or VAL_AND_TEST; None
    where an older run cannot tell.

    Raises: InputError if split.csv is damaged or a sample cannot be read.
    """
    rows = join_twice(read_split(run))
    if not any(row["digest"] for row in rows):
        parts = {row["sample"]: row["split"] for row in rows}
        return parts if parts.keys() <= {sample.name for sample in samples} else None
    size = tuple(read_config(run)["recipe"]["image_size"])
    prints = take_fingerprints(samples, size=size, field=task.field)
    digests = {row["digest"]: row["split"] for row in rows}
    by_stem = defaultdict(list)
    for row in rows:
        by_stem[stem_of(row["sample"])].append(row)
    parts = {}
    for sample in samples:
        found = prints[sample.name]
        parts[sample.name] = digests.get(found.digest)
        for row in by_stem[stem_of(sample.name)]:
            if parts[sample.name] is None and share_bits(found.dhash, row["dhash"]) > SAME_PICTURE:
                parts[sample.name] = row["split"]
    warn_of_the_same_look(rows, [prints[name].dhash for name, part in parts.items() if not part])
    return {name: part for name, part in parts.items() if part}


def warn_of_the_same_look(rows, unknown):
    """Warn if most images that a run does not know look just like some that it was trained on.

    Args:
        rows: of its split.csv.
        unknown: difference hashes.
    """
    seen = [int(row["dhash"], 16) for row in rows if row["dhash"] and not is_test(row["split"])]
    hashes = np.array([int(found, 16) for found in unknown if found], "uint64")
    if not seen or not len(hashes):
        return
    nearest = np.full(len(hashes), 64, "uint8")  # bits that differ
    for x in seen:  # not all pairs at once, which 100,000 images have no room for
        np.minimum(nearest, np.bitwise_count(hashes ^ np.uint64(x)), out=nearest)
    if (alike := int((nearest <= SAME_LOOK).sum())) > len(hashes) / 2:
        log.warning(
            f"{alike} of {len(hashes)} images look just like images that the run was trained on, "
            "but have other names and pixels. If they are copies of these, the scores are "
            "optimistic."
        )


def join_twice(rows):
    """Rows of a split.csv, with one for a sample that is in two splits."""
    parts = defaultdict(list)
    for row in rows:
        parts[row["sample"]].append(row["split"])
    return [{**row, "split": " and ".join(parts[row["sample"]])} for row in rows]


def is_test(part):
    """Whether a part that `recognize` tells is scored by default."""
    return part in ("test", VAL_AND_TEST)


def stem_of(name):
    return name.rpartition("/")[2]
