"""The folder of a run: chosen, begun, found again."""

import json
import shutil
from pathlib import Path

import keras

from transfuse_keras.errors import InputError
from transfuse_keras.files import PART, first_free, read_json, read_table, write_json, write_table
from transfuse_keras.runs.settings import describe

CONFIG, SPLIT, COMPLETE = "config.json", "split.csv", "metrics.json"


def choose_folder(out, name):
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


def begin_run(run, settings, splits):
    """Write what a run starts with, unless it is there."""
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)
    if not (run / CONFIG).exists():
        write_json(run / CONFIG, describe(settings))
    if not (run / SPLIT).exists():
        write_split(run / SPLIT, splits)


def begin_series(folder, name, settings, resume):
    """Make the folder of several runs, or see that they can be gone on with.

    Args:
        folder: Path.
        name: of the file in it that keeps `settings`, plain data that is the same for all runs.
        resume: whether the folder may have been begun with the same settings.

    Raises: InputError if it holds anything else.
    """
    path = folder / name
    settings = json.loads(json.dumps(settings))  # as they come back: lists for tuples
    if path.is_file() and resume:
        if read_json(path) != settings:
            raise InputError(f"{path}: was made with other settings; repeat those, or give --out.")
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        remedy = "give --out a new folder" + (", or --resume" if path.is_file() else "")
        raise InputError(f"{folder}: already holds something else; {remedy}.")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, settings)


def train_series(folder, runs, train):
    """Train what is not complete of a series; a run that was begun goes on.

    Args:
        folder: Path, see `begin_series`; removed if the first run of all cannot be trained.
        runs: {Path of a run folder: what it is, to print}.
        train: function of (run, begun) that trains a run to its end.
    """
    for run, what in runs.items():
        if (run / COMPLETE).is_file():
            print(f"{what}: done before.")
            continue
        print(what)
        begun = (run / CONFIG).is_file()
        if run.exists() and not begun:
            shutil.rmtree(run)
        keras.backend.clear_session()
        try:
            train(run, begun)
        except InputError:
            if not any(path.exists() for path in runs):
                shutil.rmtree(folder)  # nothing was trained: leave nothing
            raise


def is_leftover(path):
    """Whether a file or folder is what a killed process had not finished writing."""
    return path.name.startswith(PART)


def remove_leftovers(run):
    """Remove what a killed process had not finished writing."""
    for path in [path for path in run.rglob(f"{PART}*") if is_leftover(path)]:
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


def write_split(path, splits):
    """Write which sample was in which split."""
    write_table(path, split_rows(splits))


def refuse_other_split(run, splits):
    """Raise InputError if a run was begun with other samples."""
    path = run / SPLIT
    if path.is_file() and read_table(path) != split_rows(splits):
        raise InputError(f"{path}: the data is not what the run began with; start a new run.")
