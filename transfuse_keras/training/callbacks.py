"""Keras callbacks that guard a run and fill its folder."""

import logging
import math
import time
from contextlib import ExitStack
from importlib.util import find_spec

import keras

from transfuse_keras.devices import has_replicas, keep_tensorflow_off_gpus, processes
from transfuse_keras.errors import Failure, InputError, quantity
from transfuse_keras.files import read_table, write_table
from transfuse_keras.runs.sessions import describe_session, write_session
from transfuse_keras.training.optimizer import averaged_weights
from transfuse_keras.versions import has_tensorflow

log = logging.getLogger(__name__)

GOLDEN = 0x9E3779B1  # 2**32 by the golden ratio: far from any other seed


class NonFiniteLoss(Failure):
    """The loss became nan or infinite."""


class StopOnNonFiniteLoss(keras.callbacks.Callback):
    """Raise NonFiniteLoss, naming the step, as soon as the running loss is nan or infinite."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if not math.isfinite(logs["loss"]):
            raise NonFiniteLoss(
                f"The loss is {logs['loss']} at step {batch + 1} of epoch {self.epoch + 1}; "
                "try a smaller learning rate."
            )


class BeginEpoch(keras.callbacks.Callback):
    """Make order, augmentation and dropout of an epoch depend on the seed and the epoch alone.

    So a resumed run goes on as if it had not been interrupted; a `.keras` file keeps the state
    of the optimiser, but not that of dropout.

    Args:
        order: Order of the training samples.
    """

    def __init__(self, order):
        super().__init__()
        self.order = order

    def on_train_begin(self, logs=None):
        states = [v for v in self.model.variables if v.name == "seed_generator_state"]
        self.seeds = [(state, state.numpy()[0]) for state in states]

    def on_epoch_begin(self, epoch, logs=None):
        self.order.epoch = epoch
        high, low = divmod(epoch << 20, 2**32)  # the second counts the steps, in 32 bits
        if has_replicas():  # what processes draw is not the same
            high += processes()[0] << 16
        for state, seed in self.seeds:
            state.assign([(int(seed) + high * GOLDEN) % 2**32, low])

    def on_epoch_end(self, epoch, logs=None):
        # On JAX this brings the weights up to date, and all processes have to do it together.
        _ = self.model


class StopEarly(keras.callbacks.Callback):
    """End the training when the score has not risen for so many epochs.

    Args:
        patience: number of epochs.
        monitor: name of the score in the logs.
        rows: of the epochs before, as `read_history` gives them.
    """

    def __init__(self, patience, monitor, rows=()):
        super().__init__()
        self.patience, self.monitor, self.rows = patience, monitor, list(rows)

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append(logs)
        if has_stopped(self.rows, self.patience, self.monitor):
            epochs = quantity(self.patience, "epoch")
            log.info(f"No better {self.monitor} for {epochs}: the training ends.")
            self.model.stop_training = True


def has_stopped(rows, patience, monitor):
    """Whether a training with these rows of its history has ended early; `patience` or None."""
    scores = [float(row[monitor]) for row in rows] if patience else []
    return bool(scores) and len(scores) - 1 - scores.index(max(scores)) >= patience


class ScoreMeanWeights(keras.callbacks.Callback):
    """Validate with the running mean of the weights, where the optimiser keeps one."""

    def on_test_begin(self, logs=None):
        self.context = ExitStack()
        self.context.enter_context(averaged_weights(self.model))

    def on_test_end(self, logs=None):
        self.context.close()


class WriteHistory(keras.callbacks.Callback):
    """Write the logs of all epochs so far as CSV, `epoch` first, counted from 1.

    Args:
        path: Path of the CSV file.
        rows: of the epochs before.
    """

    def __init__(self, path, rows=()):
        super().__init__()
        self.path, self.rows = path, list(rows)

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append({"epoch": epoch + 1, **{key: float(value) for key, value in logs.items()}})
        write_table(self.path, self.rows)


class NoteSession(keras.callbacks.Callback):
    """Keep sessions.json up to date: how and since when this process trains, and for how long.

    Args:
        run: Path of the run folder.
    """

    def __init__(self, run):
        super().__init__()
        self.run = run

    def on_train_begin(self, logs=None):
        self.session, self.start = describe_session(), (time.perf_counter(), time.process_time())
        write_session(self.run, self.session)

    def on_epoch_end(self, epoch, logs=None):
        wall, processor = self.start
        self.session["seconds"] = round(time.perf_counter() - wall, 1)
        self.session["processor_seconds"] = round(time.process_time() - processor, 1)
        write_session(self.run, self.session)


def write_for_tensorboard(folder):
    """A list of the callback that writes TensorBoard's files; empty without what writes them."""
    if not (has_tensorflow() and find_spec("tensorboard")):
        return []
    keep_tensorflow_off_gpus()
    return [keras.callbacks.TensorBoard(folder, write_graph=False)]


def read_history(path, epochs):
    """The rows of the first epochs in a history.csv, as text.

    Raises: InputError if one of them is missing.
    """
    rows = read_table(path)[:epochs] if path.is_file() else []
    if [row.get("epoch") for row in rows] != [str(epoch + 1) for epoch in range(epochs)]:
        raise InputError(f"{path}: damaged or missing, so the training cannot go on.")
    return rows
