"""The values of a mask of one class as 0 and 1, cut at one half; others are refused."""

import cv2
import numpy as np

from transfuse_keras.data.resize import IGNORED
from transfuse_keras.errors import InputError

ROUNDING = 1e-3  # a value so near to a whole number is that number
LARGEST_LABEL = 31  # what is a label at most, where a mask of one class goes up to 255
LOSSY_NOISE = 24  # grey levels by which an even area of a JPEG differs in itself


def threshold(values, path, ignore=None):
    """Values (H, W) of a mask of one class as uint8 0/1 and IGNORED; see `cut`."""
    return cut(values, path, ignore)[0]


def cut(values, path, ignore=None, lossy=None):
    """A mask of 0/1 or 0/255, with soft edges or JPEG noise, cut at one half.

    Args:
        values: (H, W).
        path: for messages.
        ignore: value of the pixels that are left out, or None.
        lossy: the format, if it may have changed values.

    Returns: (uint8 (H, W) of 0/1 and IGNORED, what values it holds, in words).

    Raises: InputError if the values are those of no such mask.
    """
    values = snap(values, path)
    found = list_values(values)
    if lossy and ignore is not None:
        raise InputError(f"{path}: {lossy} may have changed its values; save it as PNG.")
    found = found if ignore is None else found[found != ignore]
    top = found.max(initial=0)
    if found.min(initial=0) < 0:
        raise InputError(
            f"{path}: holds negative values, or unsigned ones of 32 bits; a mask is 0 and 1, or 0 "
            "and 255."
        )
    full = 1 if top <= 1 else 255 if top <= 255 else 65535
    if lossy and 0 < top <= 255 / 2:
        raise InputError(
            f"{path}: its largest value is {spell_value(top)}: {lossy} may have blurred a mask of "
            "so few grey levels; save it as PNG."
        )
    if full / 8 < top <= full / 2:
        raise InputError(
            f"{path}: its largest value is {spell_value(top)}; a mask is 0 and 1, or 0 and {full}."
        )
    if top <= full / 8 and top > 0:
        raise InputError(
            f"{path}: holds the label {spell_value(top)}, but a mask is 0 and 1, or 0 and 255: is "
            "this a label map? The task has one class."
        )
    soft = ((found > 0) & (found < full)).any()
    how = f"values from 0 to {full}, cut at one half" if soft else f"0 and {full}"
    if lossy:
        refuse_grey_areas(values, top, path)
        full, how = top, f"{lossy}, cut at one half of the largest value"
    else:
        refuse_other_kinds(values, found, full, path)
    mask = (values > full / 2 if full > 1 else values >= 0.5).astype("uint8")
    if ignore is not None:
        mask[values == ignore] = IGNORED
    return mask, how


def refuse_other_kinds(values, found, full, path):
    """Raise InputError if values, of which `found` are the different ones, are no mask of 0 and
    `full` with soft edges: if none is near 0, if they are small labels and a single large value,
    or if a single value between the two fills an area, as an edge does not."""
    if found.size > 1 and found[0] > full / 2:
        raise InputError(
            f"{path}: holds values from {spell_value(found[0])} to {spell_value(found[-1])}, all "
            "of them white; a mask is 0 and 1, or 0 and 255."
        )
    low, high = found[found <= LARGEST_LABEL], found[found > LARGEST_LABEL]
    if full > 1 and low.any() and high.size == 1:
        shown = ", ".join([*map(spell_value, low[:4]), *["..."] * (low.size > 4)])
        other = spell_value(high[0])
        raise InputError(
            f"{path}: holds {shown} and {other}, so it is no mask of two values; if {other} marks "
            f"pixels to leave out, give ignore={other} in a task file."
        )
    between = found[(found > 0) & (found < full)]
    if between.size == 1 and found[-1] == full:
        inner = cv2.erode((values == between[0]).astype("uint8"), np.ones((3, 3)), borderValue=0)
        if inner.any():
            raise InputError(
                f"{path}: areas of it hold {spell_value(between[0])}, between 0 and {full}, so it "
                "is no mask of two values: is this a label map? The task has one class."
            )


def refuse_grey_areas(values, top, path):
    """Raise InputError if a mask of a lossy format, whose values are noisy, has areas between black
    and white: even ones of some size, as no soft edge is."""
    grey, window = (values * (255 / max(top, 1))).astype("uint8"), np.ones((5, 5))
    even = cv2.dilate(grey, window) - cv2.erode(grey, window) <= LOSSY_NOISE
    middle = even & (grey > 255 / 4) & (grey < 255 * 3 / 4)
    if np.count_nonzero(middle) > 0.05 * np.count_nonzero(grey > 255 / 4):
        raise InputError(
            f"{path}: areas of it hold about {int(np.median(values[middle]))}, between 0 and "
            f"{spell_value(top)}, so it is no mask of two values: is this a label map? The task "
            "has one class."
        )


def snap(values, path):
    """Values of which those that are whole numbers but for rounding errors are whole numbers."""
    values = np.asarray(values)
    if values.dtype.kind != "f":
        return values
    if not np.isfinite(values).all():
        raise InputError(f"{path}: holds undefined values (nan or infinite); replace them.")
    whole = np.rint(values)
    return np.where(np.abs(values - whole) <= ROUNDING, whole, values)


def list_values(values):
    """The different values of an array, sorted."""
    if values.dtype == np.uint8:  # many times as fast as np.unique
        return np.flatnonzero(np.bincount(values.ravel(), minlength=256))
    return np.unique(values).astype("int64" if values.dtype == bool else values.dtype)


def spell_value(value):
    """A value as a person writes it: 2, not 2.0, but 1.0021 in full."""
    return str(int(value)) if value == int(value) else repr(float(str(value)))
