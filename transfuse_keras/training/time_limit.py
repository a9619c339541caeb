"""A training that ends in time: its epochs are chosen from measured steps."""

import logging
import math
import time
from contextlib import contextmanager

import keras

from transfuse_keras.errors import InputError, quantity
from transfuse_keras.evaluation.facts import describe_duration
from transfuse_keras.files import read_json, write_json
from transfuse_keras.runs.folder import CONFIG

log = logging.getLogger(__name__)

MEASURED = 8  # training steps; those before, which compile, are not counted
COMPILED = 2
KEPT = 0.1  # share of the time that is left for scores, exports and the report


class TimeSteps(keras.callbacks.Callback):
    """Note when steps end, and stop the training after the last that is measured."""

    def __init__(self):
        super().__init__()
        self.times = []

    def on_train_batch_end(self, batch, logs=None):
        self.times.append(time.perf_counter())
        if len(self.times) >= COMPILED + MEASURED:
            self.model.stop_training = True


class EndInTime(keras.callbacks.Callback):
    """End the training before an epoch that would not end in time, as steps may turn out slower
    than they were measured. The run is one of fewer epochs then.

    Args:
        seconds: for the training.
        run: Path of the run folder.
    """

    def __init__(self, seconds, run):
        super().__init__()
        self.seconds, self.run, self.done = seconds, run, 0

    def on_train_begin(self, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.done += 1
        used = time.perf_counter() - self.start
        if used + used / self.done > self.seconds and epoch + 1 < self.params["epochs"]:
            log.warning(
                f"The training ends after epoch {epoch + 1} to keep its time limit: its epochs "
                "took longer than was measured."
            )
            config = read_json(self.run / CONFIG)
            config["recipe"]["epochs"] = epoch + 1
            write_json(self.run / CONFIG, config)
            self.model.stop_training = True


def measure_epoch(model, training, validation, batches):
    """Seconds that an epoch takes: its steps, and the validation. The model is as before.

    Args:
        model: compiled TransFuse; its optimiser is not the same afterwards, so compile it again.
        training, validation: batches; the second may be None.
        batches: number of training batches in an epoch.
    """
    timer = TimeSteps()
    epochs = math.ceil((COMPILED + MEASURED) / batches)
    with unchanged(model):
        model.fit(training, epochs=epochs, shuffle=False, verbose=0, callbacks=[timer])
        seconds = batches * (timer.times[-1] - timer.times[COMPILED - 1]) / MEASURED
        if validation is not None:
            model.evaluate(validation, verbose=0)  # compiles
            start = time.perf_counter()
            model.evaluate(validation, verbose=0)
            seconds += time.perf_counter() - start
    return seconds


@contextmanager
def unchanged(model):
    """Behind this context the variables of a model are as before; those of its optimiser not."""
    kept = [(x, keras.ops.convert_to_numpy(x).copy()) for x in model.variables]
    yield
    for variable, value in kept:
        variable.assign(value)


def limit_epochs(limit, used, epoch):
    """The epochs that fit into a time, said in a line.

    Args:
        limit: seconds for all.
        used: seconds that have passed.
        epoch: seconds of an epoch.

    Returns: (epochs, seconds for the training).

    Raises: InputError if there is no time for one.
    """
    left = limit * (1 - KEPT) - used
    epochs = int(left / epoch)
    if epochs < 1:
        raise InputError(
            f"--time-limit: an epoch takes about {describe_duration(epoch)}, and of "
            f"{describe_duration(limit)} {describe_duration(max(left, 0))} are left to train; give "
            "more time, or a smaller --variant or --image-size."
        )
    log.info(
        f"Time limit {describe_duration(limit)}: {quantity(epochs, 'epoch')} of about "
        f"{describe_duration(epoch)}, by measured steps; {describe_duration(limit * KEPT)} are "
        "kept for scores and exports."
    )
    return epochs, left
