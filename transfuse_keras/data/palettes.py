"""Palette images as masks: what an index means is decided by the colours of the palette."""

import numpy as np

from transfuse_keras.errors import InputError

BLACK_BELOW = 32  # below this in every channel a colour is black
# of mmsegmentation's 150 colours the first 20, for the labels 0 ... 19
ADE_COLOURS = (
    "787878 b47878 06e6e6 503232 04c803 787850 8c8c8c cc05ff e6e6e6 04fa07 "
    "e005ff ebff07 96053d 787846 08ff33 ff0652 8fff8c ccff04 ff3307 cc4603"
)


def voc_palette():
    """The colours of PASCAL VOC, (256, 3): the bits of a label, dealt to red, green and blue."""
    labels = np.arange(256)
    bits = [(labels[:, None] >> (3 * i + np.arange(3))) & 1 for i in range(3)]
    return sum(bit << (7 - i) for i, bit in enumerate(bits))


def ade_palette(first):
    """The colours of ADE20K, (256, 3), from label `first` on, black before; -1 where unknown."""
    palette = np.full((256, 3), -1)
    palette[:first] = 0
    colours = [tuple(bytes.fromhex(colour)) for colour in ADE_COLOURS.split()]
    palette[first : first + len(colours)] = colours
    return palette


# palettes whose index is the label
KNOWN = {
    "grey": np.repeat(np.arange(256)[:, None], 3, axis=1),
    "VOC": voc_palette(),
    "ADE20K": ade_palette(1),
    "ADE20K without background": ade_palette(0),
}


def palette_values(picture, count, path):
    """Values of a palette image of Pillow.

    A grey, VOC or ADE20K palette keeps its indices as labels. A palette of other greys is read as
    the brightness; for a label map an even ramp of greys as the index. Of other colours, a mask
    of one class is all that is not black; for label maps they are refused, as no rule tells which
    is which.

    Args:
        picture: of mode "P".
        count: number of classes.
        path: for messages.

    Returns: (uint8 (H, W), how they were read, in words, or None), or None if only transparency
    can tell.

    Raises: InputError if the palette does not tell.
    """
    indices = np.asarray(picture)
    palette = np.asarray(picture.getpalette("RGB"), "int64").reshape(-1, 3)
    present = np.unique(indices)
    if present[-1] >= len(palette):
        if count > 1:
            return indices, "a palette that lacks colours: the index is the label"
        raise InputError(f"{path}: its palette lacks a colour; save the mask as 0 and 255.")
    used = palette[present]
    for name, colours in KNOWN.items():
        if (used == colours[present]).all():
            how = None if name == "grey" else f"a palette ({name}): the index is the label"
            return indices, how
    black = (used < BLACK_BELOW).all(axis=1)
    grey = (np.ptp(used, axis=1) == 0).all()
    brightness = palette[:, 0].astype("uint8")[indices]
    if count > 1:
        if grey and used.max() <= count:
            return brightness, "a grey palette: the brightness is the label"
        if grey and (palette[:, 0] == np.linspace(0, 255, len(palette)).round()).all():
            return indices, "a palette of evenly spaced greys: the index is the label"
        raise InputError(
            f"{path}: its palette has colours that do not tell which label is which; save the "
            "labels as grey values."
        )
    if grey and len(present) > 2:
        return brightness, "a grey palette: its brightness"
    if black.all() and len(present) > 1:
        raise InputError(
            f"{path}: all colours of its palette are nearly black; save the mask as 0 and 255."
        )
    if black.any() or len(present) == 1:
        foreground = np.zeros(256, "uint8")
        foreground[present[~black]] = 255
        return foreground[indices], "a palette: all that is not black is the mask"
    if "transparency" in picture.info:
        return None
    raise InputError(
        f"{path}: its palette has no black, so the background is unknown; save the mask as 0 and "
        "255."
    )
