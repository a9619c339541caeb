"""The folder of a run: chosen, begun, found again."""

import logging
import re
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from transfuse_keras.errors import InputError, blaming
from transfuse_keras.files import (
    is_leftover,
    make_first_free,
    read_json,
    read_table,
    write_json,
    write_table,
)
from transfuse_keras.runs.lock import LOCK, locked
from transfuse_keras.runs.logfile import begin_log
from transfuse_keras.runs.settings import check_schema, describe_settings
from transfuse_keras.tasks.task import as_task

log = logging.getLogger(__name__)

CONFIG, SPLIT, COMPLETE = "config.json", "split.csv", "metrics.json"
COMPONENTS = "components.json"  # the classes of which only sure components stay
MARKS = ("digest", "dhash", "details")  # columns of split.csv: what a sample is recognised by
MAX_DEPTH = 3  # a model is at most two folders deep in its run: checkpoints/best.keras


def choose_run_folder(out, name):
    """Make the folder of a new run: `out` if it is new or empty, else the first free
    savedmodels/<name>[-N]. Returns: its Path.

    Raises: InputError if `out` holds something else than what a killed process left.
    """
    if out is None:
        return make_first_free(Path("savedmodels") / name)
    refuse_taken(out)
    run = Path(out)
    run.mkdir(parents=True, exist_ok=True)
    return run


def refuse_taken(out, begun=CONFIG):
    """Raise InputError if the folder of --out holds something; `begun` is what a run begins with.

    None for `out` is a folder that is still to be chosen.
    """
    if out is None:
        return
    run = Path(out)
    if run.exists() and not run.is_dir() or is_used(run):
        remedy = ", or --resume" if (run / begun).is_file() else ""
        raise InputError(f"{run}: already holds something else; give --out a new folder{remedy}.")


def is_used(folder):
    """Whether a folder holds more than a lock and what a killed process had not finished."""
    files = folder.iterdir() if folder.is_dir() else ()
    return any(not is_leftover(x) and not x.name.startswith(LOCK) for x in files)


@contextmanager
def writing_run(out, name, resume):
    """Within this context a run folder belongs to this process: yields its Path.

    Args:
        out, name: as `choose_run_folder` takes them.
        resume: take the folder `out` as it is.

    Raises: InputError if another process is writing there. A folder that stays empty is removed.
    """
    run = Path(out) if resume else choose_run_folder(out, name)
    try:
        with locked(run):
            yield run
    finally:
        with suppress(OSError):  # as it does if anything is in there
            run.rmdir()


def find_unfinished(out, name):
    """The run to go on with: `out`, else the newest unfinished savedmodels/<name>[-N].

    Raises: InputError if there is none.
    """
    if out is not None:
        run = Path(out)
        if not (run / CONFIG).is_file():
            raise InputError(f"{run}: has no {CONFIG}, so there is no run to go on with.")
        return run
    configs = Path("savedmodels").glob(f"*/{CONFIG}")
    own = re.compile(rf"{re.escape(name)}(-\d+)?")  # not those of a task skin-big for skin
    unfinished = [
        file
        for file in configs
        if own.fullmatch(file.parent.name) and not (file.parent / COMPLETE).exists()
    ]
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
    run.mkdir(parents=True, exist_ok=True)
    if not (run / CONFIG).exists():  # first: with it, what was killed can be gone on with
        said = [*getattr(splits, "notes", ()), *getattr(splits, "warnings", ())]
        write_json(run / CONFIG, {**describe_settings(settings), "split": said})
    if not (run / SPLIT).exists():
        write_split(run / SPLIT, splits, prints)
    (run / "checkpoints").mkdir(exist_ok=True)
    begin_log(run)


def keep_settings(run, settings):
    """Write other settings of a run beside what else its config.json says."""
    known = read_json(run / CONFIG) or {}
    write_json(run / CONFIG, {**known, **describe_settings(settings)})


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
        row |= {name: getattr(known, name, "") for name in MARKS}
    write_table(path, rows)


def read_split(run):
    """The rows of a run's split.csv; MARKS that older runs lack are empty."""
    with blaming(run / SPLIT, "does not tell the split of the run"):
        rows = read_table(run / SPLIT)
        known = ("split", "group", "sample")
        return [{**dict.fromkeys(MARKS, ""), **row, **{x: row[x] for x in known}} for row in rows]


def refuse_other_split(run, splits):
    """Raise InputError if a run was begun with other samples."""
    path = run / SPLIT
    if not path.is_file():
        return
    begun = [{key: row[key] for key in ("split", "group", "sample")} for row in read_split(run)]
    if begun != split_rows(splits):
        raise InputError(
            f"{path}: the data, or how this version reads it, is not what the run began with; "
            "start a new run."
        )


def read_config(run):
    """The content of a run's config.json, with all that scoring on its own data needs.

    Raises: InputError if it is missing, damaged or of something else.
    """
    file = run / CONFIG
    config = read_json(file) or {}
    check_schema(file, config)
    with blaming(file, "does not tell what the run was trained on"):
        Path(config["data"]), int(config["seed"]), str(config["recipe"]["variant"])
        height, width = map(int, config["recipe"]["image_size"])
    return config


def own_data(run):
    """The folder that a run was trained on, or None for phantoms."""
    if run is None:
        raise InputError("The model is in no run folder; give --data.")
    data = read_config(run)["data"]
    return None if data == "phantom" else data


def find_run(path):
    """The run folder that a model belongs to: `path` itself or the first of two folders above it
    that holds the config.json of a run; None without one."""
    path = Path(path).absolute()
    candidates = [path, *path.parents][:MAX_DEPTH]
    return next((folder for folder in candidates if is_run(folder)), None)


def is_run(folder):
    """Whether the config.json in a folder is that of a run: many programs write such a file.

    One that is damaged counts if the split of a run is beside it.
    """
    if not (folder / CONFIG).is_file():
        return False
    try:
        content = read_json(folder / CONFIG)
    except InputError:
        return (folder / SPLIT).exists()
    if not isinstance(content, dict) or not isinstance(content.get("task"), dict):
        return False
    # the first form had no schema; later ones may have no recipe
    return isinstance(content.get("schema"), int) or isinstance(content.get("recipe"), dict)


def run_task(run):
    """The Task that a run was trained on, with the sure classes that were found on its validation
    images.

    Args:
        run: Path of the run folder.

    Raises: InputError if its config.json is missing, damaged or of something else, or its
    components.json is damaged.
    """
    file = run / CONFIG
    config = read_json(file) or {}
    check_schema(file, config)
    with blaming(file, "does not tell the task of a run"):
        task = as_task(config["task"])
    file = run / COMPONENTS
    with blaming(file, "does not tell the sure classes of a run", "train again"):
        content = read_json(file)
        return task if content is None else replace(task, sure=tuple(content["sure"]))


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
