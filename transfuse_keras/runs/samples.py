"""The samples of a run: those of its own splits, and which samples of any folder it has seen."""

import logging
from collections import defaultdict
from dataclasses import replace
from operator import itemgetter

import numpy as np

from transfuse_keras.data.copies import share_bits, take_fingerprints
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.splits import find_splits
from transfuse_keras.data.value_range import read_with
from transfuse_keras.errors import InputError, quantity
from transfuse_keras.runs.folder import (
    SPLIT,
    own_data,
    read_config,
    read_split,
    run_task,
    write_split,
)

log = logging.getLogger(__name__)

VAL_AND_TEST = "val and test"  # where the data has no test split, see `complete_splits`
# Share of equal bits above which two are the same picture, stored in another way. Of 71,000 pairs
# of different radiographs, dermoscopies, endoscopies and volumes none has more than 0.836 of
# `details`, but for a polyp that was stored twice; of 2,694 copies, JPEG of quality 75 or half the
# size, none has less than 0.867. The `dhash` of older runs tells less: it must nearly be equal.
SAME_PICTURE = {"details": 0.85, "dhash": 0.98}
DOUBTFUL = 0.85  # share of `dhash`: the same picture, or a radiograph of another patient


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
        samples: list of Sample, of any folder; they are read with the run's own ranges of grey.

    Returns: sample name -> the split of the run that the sample was in, or VAL_AND_TEST; None
    where an older run cannot tell.

    Raises: InputError if split.csv is damaged or a sample cannot be read.
    """
    rows = join_twice(read_split(run))
    if not any(row["digest"] for row in rows):
        parts = {row["sample"]: row["split"] for row in rows}
        return parts if parts.keys() <= {sample.name for sample in samples} else None
    size, own = tuple(read_config(run)["recipe"]["image_size"]), run_task(run)
    if own.field is None:
        samples = read_with(samples, {name: x for name, x in own.ranges.items() if x})
    prints = take_fingerprints(samples, size=size, field=task.field)
    mark = "details" if any(row["details"] for row in rows) else "dhash"
    digests = {row["digest"]: row["split"] for row in rows}
    by_stem = defaultdict(list)
    for row in rows:
        by_stem[stem_of(row["sample"])].append(row)
    parts, doubtful = {}, 0
    for sample in samples:
        found, named = prints[sample.name], by_stem[stem_of(sample.name)]
        alike = [(share_bits(getattr(found, mark), row[mark]), row["split"]) for row in named]
        share, part = max(alike, key=itemgetter(0), default=(0, None))
        if found.digest in digests:
            parts[sample.name] = digests[found.digest]
        elif share > SAME_PICTURE[mark]:
            parts[sample.name] = part
        else:
            doubtful += mark == "dhash" and share > DOUBTFUL
    if doubtful:
        log.warning(
            f"{run}: its split.csv, of an earlier release, cannot tell of {doubtful} images "
            "whether they are its own: they have names and looks of them. They count as new; if "
            "they are its own, the scores are optimistic."
        )
    unknown = [getattr(prints[x.name], mark) for x in samples if x.name not in parts]
    warn_of_the_same_look(rows, unknown, mark)
    return parts


def find_relatives(run, listing, parts):
    """Further images of the patients that a run has seen, by the groups of its split.csv.

    Names of patients mean the same only if they come from one source. They do if the images that
    the run knows have them here, too; else a warning names the patients of one name.

    Args:
        run: Path of the run folder.
        listing: Listing, of any folder.
        parts: of its samples, as of `recognize`.

    Returns: sample name -> the split of its patient, of samples that are not in `parts`.
    """
    rows, patients = join_twice(read_split(run)), {}
    if not listing.patients or all(row["group"] == row["sample"] for row in rows):
        return {}
    for part in ("test", VAL_AND_TEST, "val", "train"):  # the last one counts
        patients |= {row["group"]: part for row in rows if row["split"] == part}
    groups = {sample.name: str(sample.group) for sample in listing.samples}
    found = {
        name: patients[group]
        for name, group in groups.items()
        if name not in parts and group in patients
    }
    if parts and all(groups[name] in patients for name in parts):
        return found
    if used := [groups[name] for name, part in found.items() if not is_test(part)]:
        log.warning(
            f"{quantity(len(used), 'image')} are of patients named as some that the run was "
            f"trained on, such as {min(used)}. If they are the same, the scores are optimistic."
        )
    return {}


def warn_of_the_same_look(rows, unknown, mark):
    """Warn if most images that a run does not know look just like some that it was trained on.

    Args:
        rows: of its split.csv.
        unknown: difference hashes.
        mark: the column of such hashes.
    """
    seen = pack([row[mark] for row in rows if not is_test(row["split"])])
    hashes = pack(unknown)
    alike = np.zeros(len(hashes), bool)
    for one in seen:
        differ = np.bitwise_count(hashes ^ one).sum(axis=1) / (8 * hashes.itemsize * len(one))
        alike |= 1 - differ > SAME_PICTURE[mark]
    if alike.sum() > len(hashes) / 2:
        log.warning(
            f"{alike.sum()} of {len(hashes)} images look just like images that the run was trained "
            "on, but have other names and pixels. If they are copies of these, the scores are "
            "optimistic."
        )


def pack(hashes):
    """Difference hashes, but for empty ones, as uint64 (count, words)."""
    known = [bytes.fromhex(text) for text in hashes if text]
    return np.frombuffer(b"".join(known), "uint64").reshape(len(known), -1 if known else 1)


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


def refuse_other_pixels(run, prints):
    """Raise InputError if an image of a run, of which `prints` has the Fingerprint, is another one.

    Another processor may round otherwise, so it is another one if its details differ, too.
    """
    for row in read_split(run) if (run / SPLIT).is_file() else ():
        known = prints.get(row["sample"])
        if known is None or not row["digest"] or known.digest == row["digest"]:
            continue
        if row["details"] and share_bits(known.details, row["details"]) < SAME_PICTURE["details"]:
            raise InputError(
                f"{run / SPLIT}: the image {row['sample']} is not the one that the run began with; "
                "start a new run."
            )
