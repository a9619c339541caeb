"""One range of grey levels for all images of a data set that do not say which grey is white."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np

from transfuse_keras.data.decode import decode_deep_colours, decode_picture, is_deep
from transfuse_keras.data.kinds import is_dicom
from transfuse_keras.data.readers import WHITES
from transfuse_keras.data.samples import spread_evenly
from transfuse_keras.errors import InputError

log = logging.getLogger(__name__)

SUFFIXES = {".png", ".tif", ".tiff"}  # of the formats that may have more than 8 bits
SAMPLED = 64  # images, spread over the training set
PIXELS = 2**16  # drawn from each
DARKEST, BRIGHTEST = 0.5, 99.5  # percentiles that become black and white


def fix_ranges(task, splits):
    """Read all images of a kind with one range, that of the training images.

    Args:
        task: Task.
        splits: part -> list of Sample.

    Returns: the task with its `value_range` and `dicom_range`, and splits whose samples read with
    them; both as they are where the task has a range or no training image needs one.
    """
    found = find_value_ranges(task, splits["train"])
    for sentence in describe_ranges(found):
        log.info(sentence)
    for part, samples in splits.items():  # in place: `splits` also tells how it was made
        splits[part] = read_with(samples, found)
    return replace(task, **found), splits


def read_with(samples, ranges):
    """Samples of image files that read with ranges, given by the name of the task's field."""
    return [replace(x, read=partial(x.read, **ranges)) for x in samples] if ranges else samples


def describe_ranges(ranges):
    """A sentence on each range."""
    return [
        f"{RANGE_KINDS[name][0]}: {low:g} is black and {high:g} is white, found on the training "
        "images."
        for name, (low, high) in ranges.items()
    ]


def find_value_ranges(task, samples):
    """Field of the task -> (black, white), for those that it lacks and samples need.

    These are percentiles of the pixels of up to SAMPLED images. Where they span more than half of
    the range of 8, 10, 12, 14 or 16 bits, or of 0 to 1 of floating-point values, it is that range.
    What cannot be read is passed over.
    """
    if task.field is not None:
        return {}
    files = list(dict.fromkeys(x.files[0] for x in samples if x.files))
    ranges = {}
    for name, (_, needs_range, read) in RANGE_KINDS.items():
        if getattr(task, name) is None:
            values = draw_values(files, needs_range, read)
            ranges |= {name: choose_range(values)} if values.size else {}
    return ranges


def draw_values(files, needs_range, read):
    """Values of pixels, spread over those of the files that need a range."""
    with ThreadPoolExecutor() as pool:
        wanted = [
            x for x, needed in zip(files, pool.map(needs_range, files), strict=True) if needed
        ]
        chosen = spread_evenly(wanted, SAMPLED)

        def draw(path):
            try:
                values = read(path)
            except InputError:
                return np.empty(0, "uint8")
            drawn = np.random.default_rng(0).integers(0, values.size, min(PIXELS, values.size))
            values = values.ravel()[drawn]
            return values[np.isfinite(values)]

        return np.concatenate([np.empty(0, "uint8"), *pool.map(draw, chosen)])


def choose_range(values):
    """(black, white) of some of the pixels of a data set."""
    low, high = (float(x) for x in np.percentile(values, (DARKEST, BRIGHTEST)))
    for top in (1, *WHITES) if values.dtype.kind == "f" else WHITES:
        if low >= 0 and top / 2 < high - low and high <= top:
            return 0.0, float(top)
    return low, high if high > low else low + 1


def is_deep_picture(path):
    return path.suffix.lower() in SUFFIXES and is_deep(path)


def read_deep_picture(path):
    picture = decode_picture(path, "image")
    return decode_deep_colours(path) if picture.info["deep"] else np.asarray(picture)


def is_unwindowed(path):
    if not is_dicom(path):
        return False
    from transfuse_keras.data.dicom import lacks_window  # and pydicom, which takes seconds

    return lacks_window(path)


def read_unwindowed_dicom(path):
    from transfuse_keras.data import dicom

    return dicom.read_unwindowed(path)


# field of the task -> what it is for, which files need it, and the values of such a file
RANGE_KINDS = {
    "value_range": ("Images of more than 8 bits", is_deep_picture, read_deep_picture),
    "dicom_range": ("DICOM images without a window", is_unwindowed, read_unwindowed_dicom),
}
