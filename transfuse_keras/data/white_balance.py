"""Colours of training images as the layer `WhiteBalance` makes them, before they are augmented."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from transfuse_keras.data.samples import spread_evenly
from transfuse_keras.data.threads import one_thread_each

MOST_GAIN = 10.0  # as of the layer
SEEN = 64  # images of which the mean colour is taken


def find_mean_colour(samples):
    """The mean of image / 255 of samples, one value per channel, to 4 digits: the mean over their
    images, of SEEN at most, spread evenly."""
    chosen = spread_evenly(samples, SEEN)
    with one_thread_each(), ThreadPoolExecutor() as pool:
        means = list(pool.map(lambda sample: sample.read()[0].mean(axis=(0, 1)) / 255, chosen))
    return tuple(np.mean(means, axis=0).round(4).tolist())


def balance_colours(images, colour):
    """Give each image a mean colour.

    Args:
        images: uint8 (N, H, W, C), changed in place.
        colour: mean of image / 255, one value per channel.
    """
    levels = np.arange(256)[:, None]
    for image in images:
        found = np.maximum(image.mean(axis=(0, 1)) / 255, 1e-6)
        gain = np.minimum(np.divide(colour, found), MOST_GAIN)
        table = np.clip(np.round(levels * gain), 0, 255).astype("uint8")[None]
        image[...] = cv2.LUT(np.ascontiguousarray(image), table).reshape(image.shape)
