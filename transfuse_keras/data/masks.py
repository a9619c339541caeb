"""Mask files as masks of 0/1: read as their values, palette or transparency tell, or refused."""

import cv2
import numpy as np

from transfuse_keras.data.colours import REMEDY, read_coloured
from transfuse_keras.data.decode import STEPS, decode
from transfuse_keras.data.palettes import palette_values
from transfuse_keras.data.resize import IGNORED
from transfuse_keras.errors import InputError

ROUNDING = 1e-3  # a value so near to a whole number is that number
LABEL = 31  # what is a label at most, where a mask of one class goes up to 255
STORED = "labels of fewer than 8 bits, as they are stored"
JPEG_NOISE = 16  # grey levels that JPEG leaves between the channels of a grey image


def read_masks(paths, classes, ignore=None):
    """Read the masks of an image.

    Args:
        paths: one file for each class, or a single one: a mask if there is one class, else an
            integer label map, where 0 is background and label k is class k - 1; or a picture whose
            colours a list beside it names, see `read_coloured`.
        classes: names of the M classes.
        ignore: value of the pixels that are left out, or None.

    Returns: uint8 (H, W, M) of 0/1, and IGNORED in all classes where a pixel is left out.

    Raises: InputError if a file cannot be decoded or is no such mask.
    """
    if (found := read_label_map(paths, classes, ignore)) is not None:
        labels, _ = found
        masks = (labels[..., None] == np.arange(1, len(classes) + 1)).astype("uint8")
        if ignore is not None:
            masks[labels == ignore] = IGNORED
        return masks
    masks = [read_mask(path, ignore)[0] for path in paths]
    for path, mask in zip(paths, masks, strict=True):
        if mask.shape != masks[0].shape:
            raise InputError(f"{path}: differs in size from {paths[0]}; export both at one size.")
    masks = np.stack(masks, axis=-1)
    if ignore is not None:
        masks[(masks == IGNORED).any(axis=-1)] = IGNORED
    return masks


def describe_masks(paths, classes, ignore=None):
    """How `read_masks` reads files, in words: a list with a phrase for each that is not empty."""
    if (label_map := read_label_map(paths, classes, ignore)) is not None:
        labels, how = label_map
        return [how] if labels.any() else []
    found = [read_mask(path, ignore) for path in paths]
    return [how for mask, how in found if mask.any()]


def read_label_map(paths, classes, ignore=None):
    """(array (H, W) of labels, how they were read) where one file has all classes; else None."""
    if len(paths) > 1:
        return None
    found = read_coloured(paths[0], classes)
    return read_labels(paths[0], classes, ignore) if found is None and len(classes) > 1 else found


def read_mask(path, ignore=None):
    """The mask of one class: (uint8 (H, W) of 0/1 and IGNORED, how it was read)."""
    values, how, lossy = read_values(path, 1)
    mask, found = cut(values, path, ignore, lossy)
    return mask, how or found


def read_labels(path, classes, ignore=None):
    """A label map: (array (H, W), how it was read)."""
    values, how, lossy = read_values(path, len(classes))
    if lossy:
        raise InputError(f"{path}: {lossy} may have changed its labels; save label maps as PNG.")
    if how == STORED and len(classes) >= min(STEPS.values()):
        raise InputError(
            f"{path}: has so few bits a pixel that its label 1 may be meant as another; save it "
            "with 8 bits."
        )
    labels = snap(values, path)
    check_labels(labels, classes, path, ignore)
    return labels, how or "labels"


def check_labels(labels, classes, where, ignore=None):
    """Raise InputError if a label map holds anything but 0 ... len(classes), and `ignore`."""
    known = np.arange(len(classes) + 1) if ignore is None else [*range(len(classes) + 1), ignore]
    found = list_values(labels)
    wrong = np.setdiff1d(found, known)
    if not wrong.size:
        return
    names = ", ".join(f"{k} {name}" for k, name in enumerate(classes, 1))
    if len(classes) > 1 and found.max() == 255 and np.isin(found, (0, 255)).all():
        raise InputError(
            f"{where}: holds 0 and 255 only: is this a binary mask? The task has {len(classes)} "
            f"classes, so the labels are 0 background, {names}."
        )
    remedy = "relabel it"
    if wrong.size == 1 and wrong[0] > len(classes) and wrong[0] == int(wrong[0]):
        remedy += f", or give ignore={show(wrong[0])} in a task file if it marks what to leave out"
    raise InputError(
        f"{where}: holds the label {show(wrong[0])}, but the labels are 0 background, {names}; "
        f"{remedy}."
    )


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
            f"{path}: its largest value is {show(top)}: {lossy} may have blurred a mask of so few "
            "grey levels; save it as PNG."
        )
    if full / 8 < top <= full / 2:
        raise InputError(
            f"{path}: its largest value is {show(top)}; a mask is 0 and 1, or 0 and {full}."
        )
    if top <= full / 8 and top > 0:
        raise InputError(
            f"{path}: holds the label {show(top)}, but a mask is 0 and 1, or 0 and 255: is this a "
            "label map? The task has one class."
        )
    if not lossy:
        refuse_other_kinds(values, found, full, path)
    soft = ((found > 0) & (found < full)).any()
    how = f"values from 0 to {full}, cut at one half" if soft else f"0 and {full}"
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
            f"{path}: holds values from {show(found[0])} to {show(found[-1])}, all of them white; "
            "a mask is 0 and 1, or 0 and 255."
        )
    low, high = found[found <= LABEL], found[found > LABEL]
    if full > 1 and low.any() and high.size == 1:
        shown = ", ".join([*map(show, low[:4]), *["..."] * (low.size > 4)])
        other = show(high[0])
        raise InputError(
            f"{path}: holds {shown} and {other}, so it is no mask of two values; if {other} marks "
            f"pixels to leave out, give ignore={other} in a task file."
        )
    between = found[(found > 0) & (found < full)]
    if between.size == 1 and found[-1] == full:
        inner = cv2.erode((values == between[0]).astype("uint8"), np.ones((3, 3)), borderValue=0)
        if inner.any():
            raise InputError(
                f"{path}: areas of it hold {show(between[0])}, between 0 and {full}, so it is no "
                "mask of two values: is this a label map? The task has one class."
            )


def read_values(path, count):
    """Values of a mask file.

    Args:
        path: Path.
        count: number of classes that the file holds.

    Returns: (array (H, W), how it was read if there was a choice, the name of a lossy format);
    the last two may be None.
    """
    picture = decode(path, "mask")
    lossy = picture.info["lossy"]
    if picture.info["deep"]:
        raise InputError(
            f"{path}: has 16 bits and several channels; save the mask as a single channel."
        )
    if picture.mode == "P":
        found = palette_values(picture, count, path)
        if found is not None:
            return *found, lossy
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa", "P"):
        colours = np.asarray(picture.convert("LA" if picture.mode == "LA" else "RGBA"))
        return *transparent_values(colours.astype("int64"), count, path), lossy
    if picture.info["negative"]:
        if not picture.mode.startswith("I;16"):
            raise InputError(f"{path}: stores white as 0; save the mask as PNG.")
        return 65535 - np.asarray(picture), None, lossy
    if picture.mode not in ("1", "L", "F") and not picture.mode.startswith("I"):
        colours = np.asarray(picture.convert("RGB")).astype("int64")
        return grey_values(colours, path, JPEG_NOISE if lossy else 0), None, lossy
    if picture.info["step"] > 1:
        return *unspread(np.asarray(picture), picture.info["step"], count), lossy
    return np.asarray(picture), None, lossy


def unspread(values, step, count):
    """The values of a grey image of 2 or 4 bits as they are stored, 0 ... 3 or 0 ... 15, and a word
    on it; black and white alone, of a mask of one class, as they are.

    Args:
        values: uint8 (H, W), multiples of `step`.
        step: distance of the grey levels.
        count: number of classes.
    """
    if count == 1 and np.isin(values, (0, 255)).all():
        return values, None
    return values // step, STORED


def transparent_values(pixels, count, path):
    """Values of an image with an alpha channel: (array (H, W), how they were read or None).

    Args:
        pixels: (H, W, colours and alpha).
        count: number of classes.
        path: for messages.
    """
    colours, alpha = pixels[..., :-1], pixels[..., -1]
    if np.ptp(alpha) == 0:
        return grey_values(colours, path), None
    if (colours == colours[:1, :1]).all():
        return alpha, "the alpha channel, as the colour is one"
    brightness = colours.max(axis=-1)
    drawn = brightness > (0 if count > 1 else brightness.max() / 2)
    if (drawn != (alpha > 127)).any():
        raise InputError(
            f"{path}: its colours and its transparency show different masks; save the mask without "
            "transparency."
        )
    if count > 1:
        return grey_values(colours, path), None
    return 255 * drawn, "the colours, with which the alpha channel agrees"


def grey_values(colours, path, noise=0):
    """Values of an image (H, W, C) whose channels are equal but for `noise`."""
    if np.ptp(colours, axis=2).max() > noise:
        raise InputError(
            f"{path}: is a colour image; save the mask as a single channel of labels, or {REMEDY}."
        )
    return colours[..., 0]


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


def show(value):
    """A value as a person writes it: 2, not 2.0, but 1.0021 in full."""
    return str(int(value)) if value == int(value) else repr(float(str(value)))
