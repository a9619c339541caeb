"""One range of grey levels for all images of a data set that have more than 8 bits."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np

from transfuse_keras.data.decode import decode, decode_deep_colours, is_deep
from transfuse_keras.data.readers import RANGES
from transfuse_keras.errors import InputError

log = logging.getLogger(__name__)

SUFFIXES = {".png", ".tif", ".tiff"}  # of the formats that may have more than 8 bits
SAMPLED = 64  # images, spread over the training set
PIXELS = 2**16  # drawn from each
DARKEST, BRIGHTEST = 0.5, 99.5  # percentiles that become black and white


def fix_value_range(task, splits):
    """Read all images of more than 8 bits with one range, that of the training images.

    Args:
        task: Task.
        splits: part -> list of Sample.

    Returns: the task with its `value_range`, and splits whose samples read with it; both as they
    are where the task has a range, or no training image has more than 8 bits.
    """
    if task.value_range is not None or task.field is not None:
        return task, splits
    found = find_value_range(splits["train"])
    if found is None:
        return task, splits
    log.info(describe_value_range(found))
    for part, samples in splits.items():  # in place: `splits` also tells how it was made
        splits[part] = read_with(samples, found)
    return replace(task, value_range=found), splits


def read_with(samples, value_range):
    """Samples of image files that read with (black, white)."""
    return [replace(x, read=partial(x.read, value_range=value_range)) for x in samples]


def describe_value_range(value_range):
    low, high = value_range
    return (
        f"Images of more than 8 bits: {low:g} is black and {high:g} is white, found on the "
        "training images."
    )


def find_value_range(samples):
    """(black, white) of the images of more than 8 bits among samples, None without any.

    These are percentiles of the pixels of up to SAMPLED images. Where they span more than half of
    the range of 8, 10, 12, 14 or 16 bits, or of 0 to 1 of floating-point values, it is that range.
    What cannot be read is passed over.
    """
    files = [x.files[0] for x in samples if x.files and x.files[0].suffix.lower() in SUFFIXES]
    with ThreadPoolExecutor() as pool:
        deep = [
            file for file, wanted in zip(files, pool.map(is_deep, files), strict=True) if wanted
        ]
        chosen = np.linspace(0, len(deep) - 1, min(SAMPLED, len(deep))).round().astype(int)
        parts = [part for part in pool.map(sample_pixels, [deep[i] for i in chosen]) if part.size]
    if not parts:
        return None
    values = np.concatenate(parts)
    low, high = (float(x) for x in np.percentile(values, (DARKEST, BRIGHTEST)))
    for top in (1, *RANGES) if values.dtype.kind == "f" else RANGES:
        if low >= 0 and top / 2 < high - low and high <= top:
            return 0.0, float(top)
    return low, high if high > low else low + 1


def sample_pixels(path):
    """Some of the values of an image of more than 8 bits; none if it cannot be read."""
    try:
        picture = decode(path, "image")
        values = decode_deep_colours(path) if picture.info["deep"] else np.asarray(picture)
    except InputError:
        return np.empty(0, "uint16")
    drawn = np.random.default_rng(0).integers(0, values.size, min(PIXELS, values.size))
    values = values.ravel()[drawn]
    return values[np.isfinite(values)]
