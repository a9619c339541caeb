"""The folder of a run: chosen, begun, found again."""

import logging
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from transfuse_keras.data.copies import share_bits, take_fingerprints
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.splits import find_splits
from transfuse_keras.errors import InputError, blaming
from transfuse_keras.files import (
    TEMPORARY_PREFIX,
    first_free,
    read_json,
    read_table,
    write_json,
    write_table,
)
from transfuse_keras.runs.settings import describe_settings
from transfuse_keras.tasks.task import as_task

log = logging.getLogger(__name__)

CONFIG, SPLIT, COMPLETE = "config.json", "split.csv", "metrics.json"
SAME_PICTURE = 0.85  # share of equal bits: the same picture, stored in another way
MAX_DEPTH = 3  # a model is at most two folders deep in its run: checkpoints/best.keras


def choose_run_folder(out, name):
    """The folder of a new run: `out` if it is new or empty, else the first free
    savedmodels/<name>[-N]."""
    if out is None:
        return first_free(Path("savedmodels") / name)
    run = Path(out)
    if run.exists() and (not run.is_dir() or any(not is_leftover(x) for x in run.iterdir())):
        remedy = ", or --resume" if (run / CONFIG).is_file() else ""
        raise InputError(f"{run}: already holds something else; give --out a new folder{remedy}.")
    return run


def find_unfinished(out, name):
    """The run to go on with: `out`, else the newest unfinished savedmodels/<name>[-N].

    Raises: InputError if there is none.
    """
    if out is not None:
        run = Path(out)
        if not (run / CONFIG).is_file():
            raise InputError(f"{run}: has no {CONFIG}, so there is no run to go on with.")
        return run
    configs = Path("savedmodels").glob(f"{name}*/{CONFIG}")
    unfinished = [file for file in configs if not (file.parent / COMPLETE).exists()]
    if not unfinished:
        raise InputError(f"No unfinished run in savedmodels/{name}; give its folder by --out.")
    return max(unfinished, key=lambda file: file.stat().st_mtime).parent


def begin_run(run, settings, splits, prints=None):
    """Write what a run starts with, unless it is there.

    Args:
        run: Path.
        settings: Settings.
        splits: Splits, or part -> list of Sample.
        prints: sample name -> Fingerprint, as far as they are known.
    """
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)
    if not (run / CONFIG).exists():
        said = [*getattr(splits, "notes", ()), *getattr(splits, "warnings", ())]
        write_json(run / CONFIG, {**describe_settings(settings), "split": said})
    if not (run / SPLIT).exists():
        write_split(run / SPLIT, splits, prints)


def is_leftover(path):
    """Whether a file or folder is what a killed process had not finished writing."""
    return path.name.startswith(TEMPORARY_PREFIX)


def remove_leftovers(run):
    """Remove what a killed process had not finished writing."""
    for path in [path for path in run.rglob(f"{TEMPORARY_PREFIX}*") if is_leftover(path)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def split_rows(splits):
    return [
        {"split": part, "group": str(sample.group), "sample": sample.name}
        for part, samples in splits.items()
        for sample in samples
    ]


def write_split(path, splits, prints=None):
    """Write which sample was in which split, and what it is recognised by elsewhere."""
    rows = split_rows(splits)
    for row in rows:
        known = (prints or {}).get(row["sample"])
        row["digest"], row["dhash"] = (known.digest, known.dhash) if known else ("", "")
    write_table(path, rows)


def read_split(run):
    """The rows of a run's split.csv; those of older runs lack digest and dhash."""
    with blaming(run / SPLIT, "does not tell the split of the run"):
        rows = read_table(run / SPLIT)
        return [{"digest": "", "dhash": "", **row, "group": row["group"]} for row in rows]


def refuse_other_split(run, splits):
    """Raise InputError if a run was begun with other samples."""
    path = run / SPLIT
    if not path.is_file():
        return
    begun = [{key: row[key] for key in ("split", "group", "sample")} for row in read_split(run)]
    if begun != split_rows(splits):
        raise InputError(f"{path}: the data is not what the run began with; start a new run.")


def read_config(run):
    """The content of a run's config.json, with all that scoring on its own data needs.

    Raises: InputError if it is missing, damaged or of something else.
    """
    file = run / "config.json"
    with blaming(file, "does not tell what the run was trained on"):
        config = read_json(file) or {}
        Path(config["data"]), int(config["seed"]), str(config["recipe"]["variant"])
        height, width = map(int, config["recipe"]["image_size"])
    return config


def own_data(run):
    """The folder that a run was trained on, or None for phantoms."""
    if run is None:
        raise InputError("The model is in no run folder; give --data.")
    data = read_config(run)["data"]
    return None if data == "phantom" else data


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


def find_run(path):
    """The run folder that a model belongs to: `path` itself or the first of two folders above it
    that holds a config.json; None without one."""
    path = Path(path).absolute()
    candidates = [path, *path.parents][:MAX_DEPTH]
    return next((folder for folder in candidates if (folder / "config.json").is_file()), None)


def run_task(run):
    """The Task that a run was trained on.

    Args:
        run: Path of the run folder.

    Raises: InputError if its config.json is missing, damaged or of something else.
    """
    file = run / "config.json"
    with blaming(file, "does not tell the task of a run"):
        return as_task((read_json(file) or {})["task"])


def run_thresholds(run, classes):
    """The threshold of each class by threshold.json of a run; 0.5 each without that file.

    Args:
        run: Path of the run folder.
        classes: names of the M classes.

    Returns: tuple of M floats.

    Raises: InputError if the file is damaged or lacks a class.
    """
    file = run / "threshold.json"
    content = read_json(file)
    if content is None:
        return (0.5,) * len(classes)
    with blaming(file, "does not tell the threshold of each class"):
        return tuple(float(content["thresholds"][name]) for name in classes)
