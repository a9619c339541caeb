"""Checkpoints: the whole state of a training after every epoch, so that it can go on."""

import io
import json
import logging
import math
import tempfile
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

import h5py
import keras

from transfuse_keras.devices import without_distribution
from transfuse_keras.errors import InputError, first_line
from transfuse_keras.files import replacing
from transfuse_keras.training.callbacks import read_history
from transfuse_keras.training.optimizer import averaged_weights

log = logging.getLogger(__name__)


KEPT_CHECKPOINTS = 2  # should the last be damaged, there is one before it
BEST = "best.keras"


class SaveCheckpoints(keras.callbacks.Callback):
    """Save the model with its optimiser after every epoch; keep the last two, and the best model.

    Args:
        folder: Path of an existing folder.
        monitor: name of the score in the logs by which a model is the best; None for the last.
        best: the best score so far.
    """

    def __init__(self, folder, monitor, best=-math.inf):
        super().__init__()
        self.folder, self.monitor, self.best = folder, monitor, best

    def on_epoch_end(self, epoch, logs=None):
        with replacing(self.folder / f"epoch-{epoch + 1:04}.keras") as temporary:
            save_model(self.model, temporary)
        score = logs[self.monitor] if self.monitor else epoch
        if score > self.best:
            self.best = score
            save_best(self.model, self.folder, epoch + 1)
        for old in checkpoints(self.folder)[:-KEPT_CHECKPOINTS]:
            old.unlink()


def save_model(model, path):
    with without_distribution():
        model.save(path)


def save_best(model, folder, epoch):
    """Save what is to be scored: the model of a checkpoint without its optimiser, or its mean
    weights if it has."""
    whole = folder / f"epoch-{epoch:04}.keras"
    with replacing(folder / BEST) as temporary:
        with averaged_weights(model) as has_means:
            if has_means:
                save_model(model, whole := temporary)
        drop_optimizer(whole, temporary, {"epoch": epoch})


def drop_optimizer(source, path, notes):
    """Write a `.keras` file without the optimiser and how it was compiled: two thirds of it.

    Args:
        source: of the whole file.
        path: of the one to write; may be the same.
        notes: plain data to add to its metadata.
    """
    with zipfile.ZipFile(source) as archive:
        config, metadata = (json.loads(archive.read(x)) for x in ("config.json", "metadata.json"))
        # in memory: h5py seeks, and a file in a ZIP archive is read again from its start for that
        file = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(file) as whole, h5py.File(weights := io.BytesIO(), "w") as kept:
        kept.attrs.update(whole.attrs)
        for name in whole:
            if name != "optimizer":
                whole.copy(name, kept)
    config.pop("compile_config", None)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({**metadata, **notes}))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights.getbuffer())


def checkpoints(folder):
    """The checkpoints in a folder, oldest first."""
    return sorted(folder.glob("epoch-*.keras"))


def read_epoch(path):
    """How many epochs were trained when a checkpoint was saved."""
    return int(path.stem.removeprefix("epoch-"))


def read_best_epoch(path):
    """How many epochs were trained when best.keras was saved; None if it is damaged or missing."""
    if not is_intact(path):
        return None
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("metadata.json")).get("epoch", 0)


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
            # Keras only warns of an optimiser or a layer that does not fit, and leaves it out
            warnings.filterwarnings("error", "Skipping (variable loading|nested container)")
            load_state(model, path)
    except Exception as error:
        reason = first_line(error)
        raise InputError(f"{path}: is not a checkpoint of this training ({reason}).") from error


def take_weights(model, path):
    """Give a compiled model the weights of a file of the same model without its optimiser."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
        load_state(model, path)


def load_state(model, path):
    """`model.load_weights` of a `.keras` file, unpacked first: h5py seeks, and Keras reads the file
    in the archive again from its start for that."""
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
        model.load_weights(archive.extract("model.weights.h5", folder))


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes:
        checkpoint: the newest undamaged one, None at the start.
        epochs: trained so far.
        rows: of history.csv so far.
        best: the best score so far.
        mend: whether best.keras is to be the model of the checkpoint, and is not.
    """

    checkpoint: Path | None = None
    epochs: int = 0
    rows: tuple = ()
    best: float = -math.inf
    mend: bool = False


def find_progress(run, monitor):
    """The Progress of a run that was interrupted; what is damaged or lost is said.

    Args:
        run: Path of the run folder.
        monitor: name of the score by which a model is the best; None for the last.

    Raises: InputError if history.csv does not fit the checkpoints.
    """
    folder = run / "checkpoints"
    checkpoint = newest_intact(folder)
    if checkpoint is None:
        return Progress()
    epochs = read_epoch(checkpoint)
    rows = tuple(read_history(run / "history.csv", epochs))
    scores = [float(row[monitor]) if monitor else i for i, row in enumerate(rows)]
    best, kept = max(scores), read_best_epoch(folder / BEST)
    if scores.index(best) == epochs - 1:
        return Progress(checkpoint, epochs, rows, best, mend=kept != epochs)
    if kept is not None:
        return Progress(checkpoint, epochs, rows, best)
    log.warning(
        f"{folder / BEST}: damaged or missing; the model of epoch {epochs} is kept instead."
    )
    return Progress(checkpoint, epochs, rows, scores[-1], mend=True)
