"""Pixel values as a model expects them: (image / 255 - mean) / std."""

import cv2
import numpy as np

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and std of RGB / 255


def default_normalization(channels):
    """ImageNet's for RGB, its average for grayscale."""
    return adapt_normalization(IMAGENET, channels)


def adapt_normalization(normalization, channels):
    """(mean, std) of RGB for a number of channels: any but 3 take their average."""
    if channels == 3:
        return normalization
    return tuple((sum(values) / 3,) * channels for values in normalization)


def keeps_z_scores(normalization):
    """Whether (mean, std) of image / 255 leaves an image as it is, as of a task on volumes."""
    mean, std = normalization
    return np.allclose(mean, 0) and np.allclose(np.multiply(std, 255), 1)


def normalizer(normalization, dtype):
    """The function from an image (H, W, C) of `dtype` to (image / 255 - mean) / std, float32."""
    mean, std = (np.asarray(values, "float64") for values in normalization)
    if dtype != np.uint8:
        gain, offset = (1 / (255 * std)).astype("float32"), (mean / std).astype("float32")
        return lambda image: image * gain - offset
    table = ((np.arange(256)[:, None] / 255 - mean) / std).astype("float32")[None]
    return lambda image: cv2.LUT(np.ascontiguousarray(image), table).reshape(image.shape)


def check_colour(colour):
    """The mean of image / 255 that images are given, as a tuple; ValueError if it can be none."""
    numbers = np.ndim(colour) == 1 and all(0 <= x <= 1 for x in colour)
    if not numbers:
        raise ValueError(
            f"white_balance is a mean of image / 255, from 0 to 1, for each channel, not {colour}."
        )
    return tuple(colour)
