"""Which mask file belongs to which image file, by their names."""

import re
from collections import defaultdict
from dataclasses import dataclass

from transfuse_keras.data.layouts.listing import image_files

# x.png has its mask in x_mask.png, x-mask.png, x.mask.png ...; case does not matter
STRUCTURE = "lesion"  # the word that may also be a class, one of several
WORDS = (
    *("mask", "masks", "segmentation", "seg", "gt", "groundtruth", "label", "labels", STRUCTURE),
    *("manual1", "manual", "annotation", "1stho"),
)
UNDERSTOOD = (
    "understood beside x.png are x.png, x_mask.png (also _masks, _seg, _segmentation, _gt, _label, "
    "_labels, _lesion, _manual1, _annotation; with -, . or a space for _; x_mask_1.png, ... are "
    "united), x_CLASS.png, and mask_7.png beside image_7.png"
)
MASK_NAME = re.compile(
    rf"(?P<stem>.+?)[_\-. ](?P<word>{'|'.join(WORDS)})(?P<part>[_\-. ]\d+)?$", re.I
)
# what may stand around the number that both names share: image_7 and mask_7, 21_training and
# 21_manual1
BEFORE = re.compile(r"^(images?|img|im|masks?|seg|gt|labels?)[_\-. ]?(?=\d)", re.I)
AFTER = re.compile(r"(?<=\d)[_\-. ](train|training|val|validation|test|testing|images?|img)$", re.I)


@dataclass(frozen=True)
class Match:
    """The masks of an image.

    Attributes:
        paths: one file, one for each class, or several that are united.
        missing: ending of the first file that lacks; "" if none is known; None if all are there.
        united: whether the files are parts of one mask.
        doubtful: whether the files are several masks, any of which may be meant.
    """

    paths: tuple = ()
    missing: str | None = None
    united: bool = False
    doubtful: bool = False


class MaskFiles:
    """The masks of a folder, looked up by the stem of an image.

    Args:
        files: stem -> Path.
        classes: names of the task's classes.
    """

    def __init__(self, files, classes):
        self.files, self.classes = files, classes
        self.by_stem, self.by_key = defaultdict(list), defaultdict(list)
        for stem, path in files.items():
            found = MASK_NAME.match(stem)
            if found and len(classes) > 1 and found["word"] in classes:
                found = None
            if found:
                self.by_stem[found["stem"]].append((found["part"] or "", path))
            self.by_key[key_of(found["stem"] if found else stem)].append(path)

    def find(self, stem):
        """The Match of an image."""
        if stem in self.files:
            return Match((self.files[stem],))
        if stem in self.by_stem:
            found = sorted(self.by_stem[stem])
            paths, parts = tuple(path for _, path in found), {part for part, _ in found}
            doubtful = len(parts) < len(paths)
            return Match(paths, united=len(paths) > 1 and not doubtful, doubtful=doubtful)
        endings = [f"_{name}" for name in self.classes]
        found = [self.files[stem + ending] for ending in endings if stem + ending in self.files]
        if found:
            missing = next((x for x in endings if stem + x not in self.files), None)
            return Match(tuple(found), missing)
        by_key = self.by_key.get(key_of(stem), ())
        return Match((by_key[0],)) if len(by_key) == 1 else Match(missing="")


def key_of(stem):
    """The part of a stem that an image and its mask share, when their names differ on both
    sides."""
    return AFTER.sub("", BEFORE.sub("", stem))


def divide(files):
    """The files of one folder as (images, masks): x.png and x_mask.png, image_7 and mask_7.

    Args:
        files: stem -> Path.
    """
    masks = {
        stem
        for stem in files
        if ((found := MASK_NAME.match(stem)) and found["stem"] in files)
        or (re.match(r"(mask|gt|seg|label)s?[_\-. ]?\d", stem, re.I) and image_of(stem, files))
    }
    return (
        {stem: path for stem, path in files.items() if stem not in masks},
        {stem: path for stem, path in files.items() if stem in masks},
    )


def image_of(stem, files):
    """Whether image_7 (img_7, im_7) is there for mask_7."""
    number = re.sub(r"^[a-z]+", "", stem, flags=re.I)
    return any(f"{word}{number}" in files for word in ("image", "images", "img", "im", "Image"))


def holds_both(folder):
    """Whether images and their masks lie together in a folder."""
    return bool(divide(image_files(folder, []))[1])
