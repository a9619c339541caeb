"""What the formats of annotation tools share: objects drawn on images, and where the images are."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from transfuse_keras.data.layouts.folders import MASKS
from transfuse_keras.data.layouts.listing import find_split_word, is_image
from transfuse_keras.data.readers import read_image
from transfuse_keras.data.resize import IGNORED
from transfuse_keras.errors import InputError

FAR = 2**24  # pixels; no corner lies so far away
IGNORE = "__ignore__"  # LabelMe's name of the class of what is to be left out


@dataclass(frozen=True)
class Object:
    """One object in an image.

    Attributes:
        name: of its class.
        draw: function of the image's (height, width) -> bool (height, width).
    """

    name: str
    draw: Callable


@dataclass(frozen=True)
class Annotated:
    """An image with its objects, the last one on top.

    Attributes:
        image: Path of the image, or of the file that it is embedded in.
        file: Path of the file that holds the objects.
        objects: list of Object.
        size: (height, width) of the image by that file, or None.
        split: "train", "val" or "test" by that file, or None.
        read: function of image, channels and ranges -> pixels, as `read_image`.
    """

    image: Path
    file: Path
    objects: list
    size: tuple[int, int] | None = None
    split: str | None = None
    read: Callable = read_image


@dataclass
class Annotations:
    """What the files of one format hold.

    Attributes:
        file: Path of the first of them, for messages.
        form: name of the format.
        classes: names, in the order of the files.
        images: list of Annotated.
        errors, warnings, notes: as of a Listing.
    """

    file: Path
    form: str
    classes: list[str] = field(default_factory=list)
    images: list[Annotated] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add_classes(self, names):
        self.classes += [name for name in dict.fromkeys(names) if name not in self.classes]


def read_annotated(item, draw, channels=3, **ranges):
    """Read an image and draw its masks; arguments as of `draw_masks` and `read_image`.

    Raises: InputError if the image cannot be read, or has another size than its objects.
    """
    image = item.read(item.image, channels, **ranges)
    size = image.shape[:2]
    if item.size is not None and tuple(item.size) != size:
        (height, width), (own_height, own_width) = size, item.size
        raise InputError(
            f"{item.file}: was drawn on {own_width}x{own_height} pixels, but the image "
            f"{item.image} is {width}x{height}; give the image that was drawn on."
        )
    return image, draw(size)


def draw_masks(objects, indices, count, exclusive, size):
    """Masks uint8 (H, W, count) of 0/1 and IGNORED. What is drawn later lies on top: background
    covers all beneath it, and, if classes are exclusive, so does every object."""
    masks, ignored = np.zeros((*size, count), "uint8"), np.zeros(size, bool)
    for item in objects:
        inside, index = item.draw(size), indices.get(item.name)
        if index == IGNORE:
            ignored |= inside
            continue
        if exclusive or (item.name in indices and index is None):
            masks[inside] = 0
        if index is not None:
            masks[inside, index] = 1
    masks[ignored] = IGNORED
    return masks


def count_overlap(item, indices, count):
    """Pixels in which objects of different classes lie on one another."""
    size = item.size or item.read(item.image, 1).shape[:2]
    masks = draw_masks(item.objects, indices, count, False, size)
    return int(((masks == 1).sum(axis=-1) > 1).sum())


class ImageFiles:
    """The images below a folder, found by the names that files of annotations give them.

    Such a name may be a path on the machine of whoever drew. So the file is meant that has most of
    the path's end; of several the one that lies next to the annotations, or in the same split, or
    in no folder of masks.
    """

    def __init__(self, directory):
        self.directory, self.by_name = directory, defaultdict(list)
        for path in files_below(directory):
            if is_image(path):
                self.by_name[compose(path.name)].append(path)

    def find(self, name, file, split=None):
        """(Path or None, sentence on why there is none).

        Args:
            name: of the image, with / or \\.
            file: Path of the annotations.
            split: of the annotations, or None.
        """
        parts = PurePosixPath(compose(name).replace("\\", "/")).parts

        def rank(path):
            inner = path.relative_to(self.directory).parts
            same_end = count_common(map(compose, reversed(inner)), reversed(parts))
            near = count_common(inner, file.relative_to(self.directory).parts)
            same_split = split is not None and self.split_of(path) == split
            return same_end, near, same_split, path.parent.name.lower() not in MASKS

        candidates = sorted(self.by_name.get(parts[-1] if parts else "", ()), key=rank)
        if not candidates:
            return None, f"{file}: names the image {name}, which is missing; add it."
        if len(candidates) > 1 and rank(candidates[-1]) == rank(candidates[-2]):
            both = " and ".join(map(str, candidates[-2:]))
            return None, f"{file}: names the image {name}, which may be {both}; take out one."
        return candidates[-1], ""

    def list(self):
        """All of them."""
        return [path for paths in self.by_name.values() for path in paths]

    def split_of(self, path):
        """The split that the folders above a file speak of, or None."""
        inner = path.relative_to(self.directory).parts[:-1]
        found = {find_split_word(name) for name in inner} - {None}
        return found.pop() if len(found) == 1 else None


def files_below(directory):
    """All files in a folder and in those below it, also by links, but hidden ones."""
    found = []
    for folder, inner, names in os.walk(directory, followlinks=True):
        inner[:] = sorted(name for name in inner if not name.startswith((".", "__MACOSX")))
        found += [Path(folder, name) for name in sorted(names) if not name.startswith(".")]
    return found


def compose(name):
    """A name in Unicode's composed form: macOS writes the other."""
    return unicodedata.normalize("NFC", name)


def count_common(first, second):
    """How many items two sequences have in common at their beginning."""
    count = 0
    for a, b in zip(first, second, strict=False):
        if a != b:
            break
        count += 1
    return count


def as_ring(numbers):
    """x, y, x, y, ... as float64 (N, 2). Raises: ValueError if they are no such numbers."""
    ring = np.asarray(numbers, "float64")
    if ring.size % 2 or not (np.abs(ring) < FAR).all():
        raise ValueError(f"{len(numbers)} numbers are no outline of x and y")
    return ring.reshape(-1, 2)
