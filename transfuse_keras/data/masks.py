"""Mask files as masks of 0/1: read as their values, palette or transparency tell, or refused."""

import numpy as np

from transfuse_keras.data.colours import REMEDY, read_coloured
from transfuse_keras.data.decode import STEPS, decode_picture
from transfuse_keras.data.mask_values import cut, list_values, snap, spell_value
from transfuse_keras.data.palettes import palette_values
from transfuse_keras.data.resize import IGNORED
from transfuse_keras.errors import InputError

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
    values, how, lossy = read_stored_values(path, 1)
    mask, found = cut(values, path, ignore, lossy)
    return mask, how or found


def read_labels(path, classes, ignore=None):
    """A label map: (array (H, W), how it was read)."""
    values, how, lossy = read_stored_values(path, len(classes))
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
        remedy += f", or give ignore={spell_value(wrong[0])} in a task file"
        remedy += " if it marks what to leave out"
    raise InputError(
        f"{where}: holds the label {spell_value(wrong[0])}, but the labels are 0 background, "
        f"{names}; {remedy}."
    )


def read_stored_values(path, count):
    """Values of a mask file.

    Args:
        path: Path.
        count: number of classes that the file holds.

    Returns: (array (H, W), how it was read if there was a choice, the name of a lossy format);
    the last two may be None.
    """
    picture = decode_picture(path, "mask")
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
        if not picture.mode.startswith("I;16"):  # of 1 bit, tifffile means the mask by black
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
        remedy = "" if noise else f", or {REMEDY}"
        raise InputError(
            f"{path}: is a colour image; save the mask as a single channel of labels{remedy}."
        )
    return colours[..., 0]
