"""What is seen of a training while it runs: a line and a picture after each epoch."""

import logging
import time

import cv2
import keras
import numpy as np

from transfuse_keras.data.context import find_neighbour_slices
from transfuse_keras.data.pictures import PICTURE_SIDE, enlarge, overlay, select_visible_slice
from transfuse_keras.data.resize import resize_image
from transfuse_keras.data.samples import spread_evenly
from transfuse_keras.evaluation.facts import describe_duration
from transfuse_keras.files import replacing
from transfuse_keras.inference.masks import to_masks
from transfuse_keras.inference.predict import predict_sample
from transfuse_keras.training.optimizer import averaged_weights

log = logging.getLogger(__name__)

LIVE = "live.png"
CASES_DRAWN = 4


class TellEpoch(keras.callbacks.Callback):
    """Log a line after each epoch: loss, Dice of the validation, time left.

    Args:
        epochs: of the whole training.
        monitor: name of the score in the logs; None without validation.
    """

    def __init__(self, epochs, monitor):
        super().__init__()
        self.epochs, self.monitor, self.done = epochs, monitor, 0

    def on_train_begin(self, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.done += 1
        score = f", validation Dice {logs[self.monitor]:.3f}" if self.monitor else ""
        left = (time.perf_counter() - self.start) / self.done * (self.epochs - epoch - 1)
        log.info(
            f"Epoch {epoch + 1} of {self.epochs}: loss {logs['loss']:.3f}{score}, "
            f"{describe_duration(left)} left"
        )


class DrawCases(keras.callbacks.Callback):
    """After each epoch draw some cases with the outlines of truth and prediction beside each other.

    Args:
        path: Path of the PNG.
        samples: list of Sample; CASES_DRAWN of them are drawn, spread evenly; of a volume the slice
            with most of the truth.
        task: Task.
    """

    def __init__(self, path, samples, task):
        super().__init__()
        self.path, self.task = path, task
        self.samples = spread_evenly(samples, CASES_DRAWN)

    def on_train_begin(self, logs=None):
        context = self.task.context
        self.cases = [(sample, *read_slice(sample, context)) for sample in self.samples]

    def on_epoch_end(self, epoch, logs=None):
        with averaged_weights(self.model):
            pictures = [self.draw(*case) for case in self.cases]
        _, encoded = cv2.imencode(".png", cv2.cvtColor(np.hstack(pictures), cv2.COLOR_RGB2BGR))
        with replacing(self.path) as temporary:
            temporary.write_bytes(encoded)

    def draw(self, sample, image, truth):
        maps = predict_sample(self.model, sample, image, self.task)
        if image.ndim == 4:
            image, maps = (x[self.task.context :][:1] for x in (image, maps))
        masks = to_masks(maps, 0.5, self.task.exclusive, self.task.sure_maps)
        picture = overlay(*enlarge(*select_visible_slice(image, masks, truth)))
        width = max(1, round(picture.shape[1] * PICTURE_SIDE / picture.shape[0]))
        return resize_image(picture, (PICTURE_SIDE, width))


def read_slice(sample, context=0):
    """Image and 0/1 truth of a sample; of a volume one slice of both, with its axis, and of the
    image its `context` neighbours on either side."""
    image, truth = sample.read()
    truth = (truth == 1).astype("uint8")
    if image.ndim == 4:
        index = truth.sum(axis=(1, 2, 3)).argmax()
        image = image[find_neighbour_slices(len(image), context)[index]]
        truth = truth[index : index + 1]
    return image, truth
