"""Masks whose colours are classes, by a list of colours beside them or by names such as
colour_ff0000."""

import re

import numpy as np

from transfuse_keras.data.class_names import is_background, plain
from transfuse_keras.data.decode import decode_picture
from transfuse_keras.data.mask_values import LARGEST_LABEL
from transfuse_keras.data.palettes import palette_values
from transfuse_keras.errors import InputError, blaming

FILES = ("labelmap.txt", "label_colors.txt", "class_dict.csv", "classes.txt")
ABOVE = 3  # folders, from that of the mask on, in which a list is looked for
COLOUR = re.compile(r"(?<!\d)(\d{1,3})[ ,;\t]+(\d{1,3})[ ,;\t]+(\d{1,3})(?!\d)")
INDEXED = re.compile(r"^(\d+)[ ,;:\t]+(?=(\d{1,3}[ ,;\t]+){2}\d{1,3}(?!\d))")  # 1 255 0 0 liver
NAMED = re.compile(r"colour_([0-9a-f]{6})")  # a class that only its colour names
COLOURED = {"P", "RGB", "RGBA"}
MOST = 31  # colours that are classes; soft edges have more
REMEDY = "list its colours in labelmap.txt beside the masks, a line NAME:RED,GREEN,BLUE for each"


def read_coloured(path, classes):
    """The labels of a mask by its colours.

    Args:
        path: Path.
        classes: names of the classes; what else is listed is background.

    Returns: (uint8 (H, W) of 0 ... len(classes), how it was read); None if no list applies, or the
    file holds values instead of colours.

    Raises: InputError if a colour is not listed, or a class has no colour.
    """
    listed, where = find_colours(path, classes)
    if listed is None:
        return None
    picture = decode_picture(path, "mask")
    if picture.mode not in COLOURED or picture.info["deep"]:
        return None
    if lossy := picture.info["lossy"]:
        raise InputError(f"{path}: {lossy} may have changed its colours; save masks as PNG.")
    pixels = np.asarray(picture.convert("RGBA"))
    if np.ptp(pixels[..., 3]):
        raise InputError(f"{path}: is transparent in places; save the mask without transparency.")
    indices = {plain(name): k for k, name in enumerate(classes, 1)}
    missing = set(indices) - {plain(name) for name in listed.values()}
    if missing:
        raise InputError(f"{where}: lists no colour of {min(missing)}; add it.")
    codes = pack_colours(pixels)
    labels = np.zeros(codes.shape, "uint8")
    for code in np.unique(codes):
        if code not in listed:
            raise InputError(
                f"{path}: holds the colour {spell_colour(code)}, which {where} does not list; add "
                "it, or save the mask without soft edges."
            )
        labels[codes == code] = indices.get(plain(listed[code]), 0)
    return labels, f"colours by {where if isinstance(where, str) else where.name}"


def find_colours(path, classes):
    """({colour: name of its class}, the list that says so), or (None, None).

    Args:
        path: Path of a mask.
        classes: names of the classes, which may themselves be colours.
    """
    own = {int(NAMED.fullmatch(name)[1], 16): name for name in classes if NAMED.fullmatch(name)}
    if own and len(own) == len(classes):
        return {0: "background", **own}, "the names of the classes"
    for folder in path.parents[:ABOVE]:
        for name in FILES:
            if (folder / name).is_file() and (listed := read_list(folder / name)):
                if not any(map(is_background, listed.values())):
                    listed = {0: "background", **listed}
                return listed, folder / name
    return None, None


def read_list(path):
    """{colour: name of its class} of a list of colours; None if it lists something else."""
    with blaming(path, "not a readable text file"):
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    lines = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    indices = [INDEXED.match(line) for line in lines]
    if all(indices) and [int(x[1]) - int(indices[0][1]) for x in indices] == [*range(len(lines))]:
        lines = [INDEXED.sub("", line) for line in lines]
    found = [COLOUR.search(line) for line in lines]
    if lines and found[0] is None:  # a heading
        lines, found = lines[1:], found[1:]
    if not found or not all(found):
        return None
    listed = {}
    for line, match in zip(lines, found, strict=True):
        name = (line[: match.start()] or line[match.end() :]).strip(" :,;\t\"'")
        code = pack_colours(np.array(match.groups(), "int64"))
        if not name or max(map(int, match.groups())) > 255 or code in listed:
            raise InputError(f"{path}: '{line}' is no name with a colour of its own; correct it.")
        listed[int(code)] = name
    return listed


def find_classes_by_colour(paths):
    """The classes of masks by their colours.

    Args:
        paths: of all masks.

    Returns: tuple of names, of a list of colours or, without one, such as colour_ff0000; None if
    the masks hold values instead of colours.

    Raises: InputError if there are too many colours, or none that can be background.
    """
    modes = {decode_picture(path, "mask").mode for path in paths[:1]}
    if not paths or not modes & COLOURED:
        return None
    listed, _ = find_colours(paths[0], ())
    if listed is not None:
        return tuple(x for x in dict.fromkeys(listed.values()) if not is_background(x))
    if modes == {"P"} and not any(map(has_own_colours, paths)):  # its palette tells, or refuses
        return None
    codes, values = set(), None
    for path in paths:
        picture = decode_picture(path, "mask")
        pixels = np.asarray(picture.convert("RGB"))
        if picture.info["lossy"] or not np.ptp(pixels, axis=2).any():
            values = path if picture.mode not in COLOURED and pixels.any() else values
            continue
        codes.update(np.unique(pack_colours(pixels)).tolist())
        if len(codes) > MOST + 1:
            raise InputError(f"{path}: has more than {MOST} colours, so they are no classes.")
    if codes and values:
        raise InputError(
            f"{values}: holds values, but other masks beside it hold colours; save all alike."
        )
    if codes and 0 not in codes:
        shown = ", ".join(map(spell_colour, sorted(codes)))
        raise InputError(f"{paths[0]}: which colour is background? {REMEDY} of {shown}.")
    return tuple(f"colour_{code:06x}" for code in sorted(codes - {0})) or None


def has_own_colours(path):
    """Whether a mask is a palette image of more than two colours, which tell no labels."""
    picture = decode_picture(path, "mask")
    if picture.mode != "P" or np.unique(np.asarray(picture)).size <= 2:
        return False
    try:
        palette_values(picture, LARGEST_LABEL, path)
    except InputError:
        return True
    return False


def pack_colours(pixels):
    """Red, green and blue (..., 3 or 4) as one number each."""
    return (pixels[..., :3].astype("int64") * (65536, 256, 1)).sum(axis=-1)


def spell_colour(code):
    """ "255,0,0" of a packed colour."""
    return ",".join(map(str, int(code).to_bytes(3)))
