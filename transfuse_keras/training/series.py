"""Several runs in one folder: begun, trained one after the other, gone on with."""

import json
import logging
import shutil
from dataclasses import asdict

import keras

from transfuse_keras.errors import InputError
from transfuse_keras.files import read_json, write_json
from transfuse_keras.runs.folder import COMPLETE, CONFIG, is_used
from transfuse_keras.runs.lock import locked
from transfuse_keras.tasks.task import Recipe

log = logging.getLogger(__name__)


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
        if with_new_fields(read_json(path)) != with_new_fields(settings):
            raise InputError(f"{path}: was made with other settings; repeat those, or give --out.")
        return
    if folder.exists() and not folder.is_dir() or is_used(folder):
        remedy = "give --out a new folder" + (", or --resume" if path.is_file() else "")
        raise InputError(f"{folder}: already holds something else; {remedy}.")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, settings)


def with_new_fields(plain):
    """Settings of an earlier release, with the defaults of what it did not have."""
    if not isinstance(plain, dict) or not isinstance(plain.get("recipe"), dict):
        return plain
    return {
        "ending": [],
        **plain,
        "recipe": {**json.loads(json.dumps(asdict(Recipe()))), **plain["recipe"]},
    }


def train_series(folder, runs, train):
    """Train what is not complete of a series; a run that was begun goes on.

    Args:
        folder: Path, see `begin_series`; removed if the first run of all cannot be trained.
        runs: {Path of a run folder: what it is, to print}.
        train: function of (run, begun) that trains a run to its end.
    """
    with locked(folder):
        for run, what in runs.items():
            if (run / COMPLETE).is_file():
                log.info(f"{what}: done before.")
                continue
            log.info(what)
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
