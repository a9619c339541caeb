"""The samples of a run: those of its own splits, and which samples of any folder it has seen."""

from collections import defaultdict
from dataclasses import replace

from transfuse_keras.data.copies import share_bits, take_fingerprints
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.splits import find_splits
from transfuse_keras.runs.folder import own_data, read_config, read_split

SAME_PICTURE = 0.85  # share of equal bits: the same picture, stored in another way


def own_samples(task, run, part):
    """The samples of a split of the run's own data, by its split.csv."""
    if own_data(run) is None:
        return own_splits(task, run)[part]
    groups = {row["sample"]: row["group"] for row in read_split(run) if row["split"] == part}
    samples = own_listing(task, run).samples
    return [replace(x, group=groups[x.name]) for x in samples if x.name in groups]


def own_splits(task, run):
    """The phantoms of a run."""
    config = read_config(run)
    return find_splits(task, None, tuple(config["recipe"]["image_size"]), config["seed"])


def own_listing(task, run):
    """Listing of all of the folder that a run was trained on."""
    config = read_config(run)
    spacing = config.get("spacing") and tuple(config["spacing"])
    return find_samples(task, own_data(run), spacing, config.get("masks"))


def recognize(task, run, samples):
    """Which samples a run has seen, wherever their files lie now.

    A sample is known by the digest of its pixels, or by its name if its picture is nearly the
    same. Of an older run, which kept no digests, samples are known by name, and only if all names
    of its data are there.

    Args:
        task: Task.
        run: Path of the run folder.
        samples: list of Sample, of any folder.

    Returns: sample name -> the split of the run that the sample was in.

    Raises: InputError if split.csv is damaged or a sample cannot be read.
    """
    rows = read_split(run)
    if not any(row["digest"] for row in rows):
        parts = {row["sample"]: row["split"] for row in rows}
        return parts if parts.keys() <= {sample.name for sample in samples} else {}
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
    return {name: part for name, part in parts.items() if part}


def stem_of(name):
    return name.rpartition("/")[2]
