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


def check_normalization(normalization, channels):
    """Raise ValueError if (mean, std) of image / 255 is not that of so many channels."""
    try:
        mean, std = (np.asarray(values, "float64") for values in normalization)
    except (TypeError, ValueError):
        mean = std = np.zeros(0)
    if not (mean.shape == std.shape == (channels,) and np.isfinite(mean).all() and (std > 0).all()):
        raise ValueError(
            "normalization is (mean, std) of image / 255, each with a number for each of the "
            f"{channels} channels, std above 0, not {normalization!r}."
        )


def check_colour(colour, channels):
    """The mean of image / 255 that images are given, as a tuple; ValueError if it can be none."""
    if np.shape(colour) != (channels,) or not all(0 <= x <= 1 for x in colour):
        raise ValueError(
            "white_balance is a mean of image / 255, from 0 to 1, for each of the "
            f"{channels} channels, not {colour!r}."
        )
    return tuple(colour)
