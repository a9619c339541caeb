"""Keras callbacks that guard a run and fill its folder."""

import csv
import math

import keras

from transfuse_keras.files import replacing


class NonFiniteLoss(RuntimeError):
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


class KeepBest(keras.callbacks.Callback):
    """Save the model whenever a score rises.

    Args:
        path: `.keras` file to write.
        monitor: name of the score in the logs.
    """

    def __init__(self, path, monitor):
        super().__init__()
        self.path, self.monitor, self.best = path, monitor, -math.inf

    def on_epoch_end(self, epoch, logs=None):
        if logs[self.monitor] > self.best:
            self.best = logs[self.monitor]
            with replacing(self.path) as temporary:
                self.model.save(temporary)


class WriteHistory(keras.callbacks.Callback):
    """Write the logs of all epochs so far as CSV, `epoch` first, counted from 1."""

    def __init__(self, path):
        super().__init__()
        self.path, self.rows = path, []

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append({"epoch": epoch + 1, **{key: float(value) for key, value in logs.items()}})
        with replacing(self.path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.rows[0])
            writer.writeheader()
            writer.writerows(self.rows)
