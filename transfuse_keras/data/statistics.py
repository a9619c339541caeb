"""What an image is like in a few numbers, and whether it is like those of a training."""

import cv2
import numpy as np

from transfuse_keras.data.resize import resize_image

MEASURED_SIZE = (128, 128)  # at which all is measured, so that files of other sizes compare
MARGIN = 0.25  # of the range of the training images, on each side
TEXTURE_WIDTHS = (3, 9, 27)  # of textures, in pixels
GREY_TOLERANCE = 1.0  # grey levels by which channels may differ, as those of a grey JPEG do
FLAT = 1e-2  # the texture of an image of one colour
LEAST = 0.01  # of the largest value, on each side: a range of one image has no width


def measure_image(image):
    """Statistics of an image or volume.

    Args:
        image: (H, W, C) in 0-255, or float32 (D, H, W, C), z-scored.

    Returns: dict of name to float, measured at 128x128: of each channel mean, standard deviation,
    1 % and 99 % quantile, in its own unit; of each channel minus the next the mean, and as log10
    the standard deviation, which is smallest for grey; "texture of N pixels": log10 of the standard
    deviation of what a mean over N pixels takes away, relative to that of all; of an image
    "height / width" of the file.
    """
    slices = np.asarray(image, "float32")
    slices = slices[None] if slices.ndim == 3 else slices
    small = np.stack([resize_image(x, MEASURED_SIZE) for x in slices])
    channels, found = small.shape[-1], {}
    for k in range(channels):
        values, of = small[..., k], "" if channels == 1 else f" of channel {k + 1}"
        low, high = np.quantile(values, (0.01, 0.99))
        found |= {f"mean{of}": values.mean(), f"standard deviation{of}": values.std()}
        found |= {f"1 % quantile{of}": low, f"99 % quantile{of}": high}
    for k in range(channels - 1):
        difference, of = small[..., k] - small[..., k + 1], f"channel {k + 1} - channel {k + 2}"
        found |= {of: difference.mean(), f"colours, {of}": log10(difference.std(), GREY_TOLERANCE)}
    rest = small.mean(axis=-1)
    contrast = rest.std() or 1
    for width in TEXTURE_WIDTHS:
        smooth = np.stack([cv2.blur(x, (width, width)) for x in rest])
        found[f"texture of {width} pixels"] = log10((rest - smooth).std() / contrast, FLAT)
        rest = smooth
    if image.ndim == 3:
        found["height / width"] = image.shape[0] / image.shape[1]
    return {name: float(value) for name, value in found.items()}


def log10(value, least):
    return np.log10(max(value, least))


def find_statistic_ranges(measured):
    """The range of each statistic over images: name -> (smallest, largest)."""
    columns = {name: [each[name] for each in measured] for name in measured[0]}
    return {name: (min(values), max(values)) for name, values in columns.items()}


def describe_unlike(statistics, ranges):
    """What makes an image unlike those of a training, as phrases; none if it is like them.

    A statistic is outside if it is more than a quarter of the range away from it.

    Args:
        statistics: what `measure_image` gave.
        ranges: what `find_statistic_ranges` gave of the training images.
    """
    said = {}  # channels of a grey image say the same, and are told together
    for name, (low, high) in ranges.items():
        margin = MARGIN * (high - low) + LEAST * max(1.0, abs(low), abs(high))
        if not low - margin <= statistics[name] <= high + margin:
            what, of, channel = name.partition(" of channel ")
            values = f"{statistics[name]:.3g}, in training {low:.3g} to {high:.3g}"
            said.setdefault((what, of, values), []).append(channel)
    return [
        f"{what}{of}{' and '.join(channels)} is {values}"
        for (what, of, values), channels in said.items()
    ]
