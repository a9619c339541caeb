"""Checkpoints: the whole state of a training after every epoch, so that it can go on."""

import logging
import math
import shutil
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

import keras

from transfuse_keras.devices import without_distribution
from transfuse_keras.errors import InputError
from transfuse_keras.files import replacing
from transfuse_keras.training.callbacks import read_history

log = logging.getLogger(__name__)


KEPT = 2  # should the last be damaged, there is one before it
BEST = "best.keras"


class SaveCheckpoints(keras.callbacks.Callback):
    """Save the model with its optimiser after every epoch, keep the last two and the best.

    Args:
        folder: Path of an existing folder.
        monitor: name of the score in the logs by which a model is the best.
        best: the best score so far.
    """

    def __init__(self, folder, monitor, best=-math.inf):
        super().__init__()
        self.folder, self.monitor, self.best = folder, monitor, best

    def on_epoch_end(self, epoch, logs=None):
        path = self.folder / f"epoch-{epoch + 1:04}.keras"
        with replacing(path) as temporary, without_distribution():
            self.model.save(temporary)
        if logs[self.monitor] > self.best:
            self.best = logs[self.monitor]
            keep_as_best(path)
        for old in checkpoints(self.folder)[:-KEPT]:
            old.unlink()


def keep_as_best(path):
    with replacing(path.with_name(BEST)) as temporary:
        shutil.copyfile(path, temporary)


def checkpoints(folder):
    """The checkpoints in a folder, oldest first."""
    return sorted(folder.glob("epoch-*.keras"))


def read_epoch(path):
    """How many epochs were trained when a checkpoint was saved."""
    return int(path.stem.removeprefix("epoch-"))


def is_intact(path):
    """Whether a `.keras` file is complete: the checksum of every part of it is right."""
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip() is None
    except Exception:  # damage shows as any error of zipfile and zlib
        return False


def newest_intact(folder):
    """The newest undamaged checkpoint in a folder, None without one; says what is damaged."""
    for path in reversed(checkpoints(folder)):
        if is_intact(path):
            return path
        log.warning(f"{path}: damaged; going on from before it.")
    return None


def restore(model, path):
    """Give a compiled model the weights and the optimiser's state of a checkpoint.

    Raises: InputError if it is of another model.
    """
    model.build_optimizer()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Keras only warns of an optimiser that does not fit
            model.load_weights(path)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"{path}: is not a checkpoint of this training ({reason}).") from error


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes:
        checkpoint: the newest undamaged one, None at the start.
        epochs: trained so far.
        rows: of history.csv so far.
        best: the best score so far.
    """

    checkpoint: Path | None = None
    epochs: int = 0
    rows: tuple = ()
    best: float = -math.inf


def find_progress(run, monitor, first=True):
    """The Progress of a run that was interrupted; what is damaged or lost is said.

    Args:
        run: Path of the run folder.
        monitor: name of the score by which a model is the best.
        first: whether this process writes files: it mends best.keras where that is needed.

    Raises: InputError if history.csv does not fit the checkpoints.
    """
    folder = run / "checkpoints"
    checkpoint = newest_intact(folder)
    if checkpoint is None:
        return Progress()
    epochs = read_epoch(checkpoint)
    rows = read_history(run / "history.csv", epochs)
    scores = [float(row[monitor]) for row in rows]
    best = max(scores)
    if not first:
        return Progress(checkpoint, epochs, tuple(rows), best)
    if scores.index(best) == epochs - 1:
        keep_as_best(checkpoint)  # the training may have ended before it did
    elif not is_intact(folder / BEST):
        log.warning(
            f"{folder / BEST}: damaged or missing; the model of epoch {epochs} is kept instead."
        )
        keep_as_best(checkpoint)
        best = scores[-1]
    return Progress(checkpoint, epochs, tuple(rows), best)
