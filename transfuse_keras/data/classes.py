"""What the classes of a folder are, where nobody has said: by names, and by the values of masks."""

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transfuse_keras.data.class_names import distinct, is_background
from transfuse_keras.data.colours import find_classes_by_colour
from transfuse_keras.data.decode import decode_picture
from transfuse_keras.data.layouts import annotations, arrays, decathlon, isic, segmentations
from transfuse_keras.data.layouts.folders import (
    find_places,
    holds_files,
    holds_images,
    subfolders,
)
from transfuse_keras.data.layouts.listing import Listing
from transfuse_keras.data.layouts.names import STRUCTURE
from transfuse_keras.data.layouts.pairs import list_files
from transfuse_keras.data.layouts.tables import NAMES_FILE, read_class_names
from transfuse_keras.data.mask_values import LARGEST_LABEL, snap, spell_value
from transfuse_keras.data.masks import read_stored_values
from transfuse_keras.data.volumes import open_volume
from transfuse_keras.errors import InputError, blaming, quantity
from transfuse_keras.files import read_json
from transfuse_keras.tasks.task import Task

ONLY = "foreground"  # the name of a single class that nothing names
FULL = (255, 65535)  # white
# Where white is not all: of soft edges there are many values and few pixels, of labels that were
# spread over the greys to be seen few values and many pixels.
FEW_VALUES, MANY_PIXELS = 10, 0.1


@dataclass(frozen=True)
class Classes:
    """The classes of a data set.

    Attributes:
        names: of the classes.
        found: what told them, in words.
        ignore: value of the pixels that are left out, or None.
        channels: of volumes; None for images.
        labels: whether masks are label maps, in which a pixel has one class at most.
    """

    names: tuple[str, ...]
    found: str
    ignore: int | None = None
    channels: int | None = None
    labels: bool = False


def find_classes(directory, masks=None):
    """The classes of a folder in a known layout.

    They are what dataset.json, annotations, folders or file names say, else the values of all
    masks; the names of values are the lines of a classes.txt.

    Args:
        directory: Path.
        masks: as of `find_samples`.

    Returns: Classes, or None if no layout fits.

    Raises: InputError if masks cannot be read, are all empty, or their values are no labels.
    """
    folder = None if masks else decathlon.find_folder(directory)
    if folder is not None:
        return by_description(folder / "dataset.json")
    file = directory / "mask_train.npy"
    if masks is None and file.is_file():
        shape = arrays.open_array(file).shape
        names = read_names(directory, shape[3] if len(shape) == 4 else 1)
        return Classes(names, f"{file.name} has {quantity(len(names), 'mask')} an image")
    if masks is None and (segments := segmentations.read_segments(directory)):
        names = tuple(name for name in segments[0] if not is_background(name))
        return Classes(names, "the segments of DICOM SEG", channels=1 if segments[1] else None)
    if names := annotations.read_annotated_classes(directory, masks):
        return Classes(names, "the names of the annotations")
    if masks is None and isic.find(Task("", ("lesion",)), directory) is not None:
        return Classes(("lesion",), "the masks of the ISIC challenge")
    places = find_places(directory, (), masks)
    return by_places(places, directory) if places else None


def make_task(directory, masks=None):
    """A Task for the classes that are found in a folder; label maps are exclusive.

    Args:
        directory, masks: as of `find_classes`.
    """
    # without classes, reading says what lacks
    found = find_classes(directory, masks) or Classes((ONLY,), "")
    return Task(
        directory.resolve().name,
        found.names,
        ignore=found.ignore,
        exclusive=found.labels,
        field=None if found.channels is None else (1.0, 1.0),
    )


def by_description(path):
    """The Classes that a dataset.json lists."""
    with blaming(path, "not a description of volumes"):
        content = read_json(path)
        values = decathlon.label_values(content["labels"], path)
        ignore = values.pop("ignore", None)
        names = tuple(re.sub(r"\W+", "_", name) for name in sorted(values, key=values.get))
        named = content.get("modality") or content.get("channel_names")
        channels = len(named) if named else count_channels(path.parent, content)
    return Classes(names, f"labels of {path.name}", ignore, channels)


def count_channels(folder, content):
    """The channels of the first case of a dataset.json that does not name them."""
    image = content["training"][0]["image"]
    return len(image) if isinstance(image, list) else open_volume(folder / image).shape[3]


def by_places(places, directory):
    """The Classes of folders of images and masks."""
    named, how, files = set(), "", []
    for place in places:
        folders = [] if are_together(place) else subfolders(place.masks)
        if folders := [path for path in folders if holds_images(path)]:
            named |= {re.sub("[ -]", "_", path.name) for path in folders}
            how = f"folders in {place.masks.name}/"
            continue
        images, find, masks = list_files(place, (), Listing())
        matches = [find(stem) for stem in images]
        found = [path for match in matches for path in match.paths]
        if not found or are_of_one_class(found, masks, images):
            named |= {name for path in masks if (name := ending_of(path.stem, images))}
            how = "endings of the names of masks"
            continue
        files += found
    if named:
        return Classes(tuple(distinct(sorted(named))), how)
    if not files:
        return None
    if names := find_classes_by_colour(files):
        return Classes(names, "colours of the masks")
    count, ignore, how = count_labels(files)
    return Classes(read_names(directory, count), how, ignore, labels=count > 1)


def are_together(place):
    """Whether the masks of a Place lie in one folder: with the images, or beside folders of
    others."""
    if place.masks == place.images:
        return True
    if not holds_files(place.masks):
        return False
    images, find, _ = list_files(place, (), Listing())
    return sum(bool(find(stem).paths) for stem in images) > len(images) / 2


def are_of_one_class(found, masks, images):
    """Whether masks such as x_lesion are those of one class, as others of x have other endings."""
    endings = {ending_of(path.stem, images) for path in masks - set(found)}
    structure = all(path.stem.lower().endswith(f"_{STRUCTURE}") for path in found)
    return structure and bool(endings) and None not in endings


def ending_of(stem, images):
    """ "pelvis" of the mask x_pelvis, where x is an image; None if there is no such image."""
    cuts = [i for i, letter in enumerate(stem) if letter == "_" and stem[:i] in images]
    return stem[cuts[-1] + 1 :] if cuts else None


def read_names(directory, count):
    """Names of `count` classes: the lines of classes.txt, else class_1, class_2, ...

    Raises: InputError if classes.txt names fewer or more than there are.
    """
    path = directory / NAMES_FILE
    if not path.is_file():
        return (ONLY,) if count == 1 else tuple(f"class_{k}" for k in range(1, count + 1))
    names = read_class_names(path)
    if len(names) < count or len(set(names)) != len(names):
        raise InputError(
            f"{path}: the masks have {count} classes, not {len(set(names))} as it has; write one "
            "name a line, in the order of the labels, without the background."
        )
    return tuple(names)


def count_labels(paths):
    """What the values of mask files come to: (number of classes, value to ignore, in words)."""
    with ThreadPoolExecutor() as pool:
        parts = list(pool.map(count_values, paths))
    counts = Counter()
    for part, _ in parts:
        counts += part
    apart = not any(part[1] and any(part[full] for full in FULL) for part, _ in parts)
    return interpret(counts, any(lossy for _, lossy in parts), Path(paths[0]).parent, apart)


def count_values(path):
    """(value -> number of pixels, whether the format may have changed values) of a mask file."""
    values, how, lossy = read_mask_values(path)
    values = snap(values, path)
    if values.dtype == np.uint8:  # many times as fast as np.unique
        counts = np.bincount(values.ravel(), minlength=256)
        found = np.flatnonzero(counts)
        counts = counts[found]
    else:
        found, counts = np.unique(values, return_counts=True)
    return Counter(dict(zip(found.tolist(), counts.tolist(), strict=True))), bool(lossy)


def read_mask_values(path):
    """As `read_stored_values`; a palette with only two colours in use is a mask of one class."""
    try:
        return read_stored_values(path, LARGEST_LABEL)
    except InputError:
        values = read_stored_values(path, 1)
        used = np.unique(np.asarray(decode_picture(path, "mask")))
        if "all that is not black" in (values[1] or "") and used.size <= 2:
            return values
        raise


def interpret(counts, lossy, where, apart=False):
    """What a folder's mask values mean.

    Args:
        counts: value -> number of pixels, in all masks together.
        lossy: whether a file has a format that changes values.
        where: Path of the folder, for messages.
        apart: whether no file holds both 1 and white, so that these may mean the same.

    Returns: (number of classes, value to ignore or None, in words).

    Raises: InputError if all masks are empty or the values are no labels.
    """
    found = sorted(value for value in counts if value)
    if not found:
        raise InputError(f"{where}: every mask is empty, so there is nothing to learn.")
    top, rest = found[-1], found[:-1]
    if top <= 1:
        return 1, None, "values 0 and 1 of the masks"
    whole = all(value == int(value) > 0 for value in found)
    if whole and top <= LARGEST_LABEL and not lossy:
        values = f"values 1 to {top:g}" if len(found) == top else f"values {list_all(found)}"
        return int(top), None, f"{values} of the label maps"
    if top in FULL and not rest:
        return 1, None, f"values 0 and {top:g} of the masks"
    if top in FULL and rest == [1] and apart:
        return 1, None, f"values 0 and 1 of some masks, 0 and {top:g} of others"
    if top == FULL[0] and whole and rest[-1] <= LARGEST_LABEL and not lossy:
        values = list_all(rest)
        return int(rest[-1]), int(top), f"values {values} of the masks"
    soft = sum(counts[value] for value in rest) / sum(counts[value] for value in found)
    plain = top in FULL and found[0] > 0 and (len(rest) > FEW_VALUES or soft < MANY_PIXELS)
    if plain or (lossy and 127 < top <= FULL[0]):
        return 1, None, f"values from 0 to {top:g} of the masks, cut at one half"
    raise InputError(
        f"{where}: its masks hold the values {list_all(found)}, which are no labels: number the "
        "classes 1, 2, 3, ... (0 is background), or write 0 and 255 for one class."
    )


def list_all(values):
    """ "1, 2 and 7"; of many the first ones."""
    shown = [spell_value(value) for value in values[:8]] + ["..."] * (len(values) > 8)
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]
