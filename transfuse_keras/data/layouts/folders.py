"""Which folders hold images, and which the masks that belong to them."""

import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from transfuse_keras.data.class_names import plain
from transfuse_keras.data.layouts.listing import find_split_word, is_image
from transfuse_keras.data.layouts.names import holds_both
from transfuse_keras.errors import InputError

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "original", "originals", "img_dir", "jpegimages")
# what a first reader drew; the folder "mask" beside it is the field of view of the camera
FIRST_READER = ("1st_manual", "manual1")
MASKS = (
    *("masks", "mask", "ground truth", "groundtruth", "ground_truth", "gt", "labels", "label"),
    *("ann_dir", "segmentationclass", "segmentations", "segmentation", "annotations"),
)
DEPTH = 3  # folders below the given one that are searched
LOOKS = 5  # masks of a folder that are opened to see what they are


@dataclass(frozen=True)
class Place:
    """A folder of images with the masks that belong to them.

    Attributes:
        folder: where both lie.
        images: folder of the images.
        masks: folder of the masks, the same as `images` if both lie together; or, for one folder
            a class, class -> folder.
        inner: names of the folders from the given one down to the images, without "images".
        notes: sentences on what was chosen here.
        warnings: sentences on what is not read here.
    """

    folder: Path
    images: Path
    masks: Path | dict
    inner: tuple[str, ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def split(self):
        """The split that its folder names speak of, or None."""
        found = {find_split_word(name) for name in self.inner} - {None}
        return found.pop() if len(found) == 1 else None


def find_places(directory, classes, masks=None):
    """All Places from `directory` down.

    Args:
        directory: Path.
        classes: names of the task's classes: folders of masks may be named like them.
        masks: name of the folder of masks, where --masks gives one.

    Raises: InputError if several folders may be the one of the masks.
    """
    places = list(walk(directory, (), classes, masks, DEPTH))
    if masks is None:
        refuse_fields_of_view(places)
    return places


def refuse_fields_of_view(places):
    """Raise InputError if one Place has what a first reader drew and another only `mask`: as in
    DRIVE, whose test images come without the truth."""
    named = {x: x.masks.name.lower() for x in places if not isinstance(x.masks, dict)}
    drawn = next((x for x, name in named.items() if name in FIRST_READER), None)
    for place, name in named.items():
        if drawn and name == "mask":
            raise InputError(
                f"{place.folder}: has no {drawn.masks.name}/ as {drawn.folder} has, and mask/ is "
                "the field of view of the camera; take the folder out, or choose by --masks mask."
            )


def walk(folder, inner, classes, masks, depth):
    children = subfolders(folder)
    if any(path.name.lower() == "png" for path in children):  # CVC-ClinicDB comes as both
        children = [path for path in children if path.name.lower() != "tif"]
    images = choose_images(folder, children)
    truths = find_mask_folders(children, masks) if images else []
    if truths:
        truth, notes = choose_masks(folder, truths, masks)
        others = [path for path in children if path != images and path not in truths]
        place = Place(folder, images, truth, inner, notes, warn_of_others(others, images, truth))
        yield from pair_subfolders(place, classes)
    elif masks is None and holds_both(folder):
        yield Place(folder, folder, folder, inner)
    elif depth:
        for child in children:
            yield from walk(child, (*inner, child.name), classes, masks, depth - 1)


def warn_of_others(folders, images, truth):
    """A warning of those of some folders that have images and masks of their own, if any has."""
    full = [path for path in folders if has_pairs(path, DEPTH - 1)]
    if not full:
        return ()
    return (
        f"{images.parent}: {images.name}/ and {truth.name}/ are read, and not {list_names(full)}/, "
        f"which has images and masks of its own; to use all, put {images.name}/ and {truth.name}/ "
        "into a folder beside it.",
    )


def has_pairs(folder, depth):
    """Whether a folder, or one up to `depth` below it, has images and masks."""
    children = subfolders(folder)
    named = {path.name.lower() for path in children if holds_images(path)}
    pairs = named & set(IMAGE_FOLDERS) and named & {*FIRST_READER, *MASKS}
    return bool(pairs) or (depth > 0 and any(has_pairs(path, depth - 1) for path in children))


def subfolders(folder):
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "_"))
    )


def holds_images(folder):
    """Whether a folder, or a folder up to two levels down, holds a file that can be an image."""
    return any(
        is_image(path)
        for pattern in ("*", "*/*", "*/*/*")
        for path in folder.glob(pattern)
        if not path.name.startswith(".")
    )


def choose_images(folder, children):
    """The folder of images among the children of `folder`, or None."""
    named = {path.name.lower(): path for path in children}
    found = [named[name] for name in IMAGE_FOLDERS if name in named]
    filled = [path for path in found if holds_images(path)] or found
    if len(filled) > 1 and filled[0].name.lower() != "images":
        raise InputError(
            f"{folder}: {list_names(filled)} may all be the folder of images; name one of them "
            "images, or take the others out."
        )
    return filled[0] if filled else None


def find_mask_folders(children, name):
    """The folders that may hold masks, the likeliest first; those with images in them only, if
    there are any: a `labels` folder of text files is none."""
    named = {path.name.lower(): path for path in children}
    wanted = (*FIRST_READER, *MASKS) if name is None else (name.lower(),)
    found = [named[word] for word in wanted if word in named]
    return [path for path in found if holds_images(path)] or found


def choose_masks(folder, found, name):
    """The folder of masks among those found in `folder`, and sentences on the choice."""
    chosen, *others = found
    if not others:
        return chosen, ()
    how = f"--masks {list_names(others, ' or --masks ')}"
    if chosen.name.lower() not in (*FIRST_READER, "masks"):
        raise InputError(
            f"{folder}: {list_names(found)} may all be the folder of masks; choose by --masks, as "
            f"in --masks {chosen.name}."
        )
    if show_no_shape(sorted(filter(is_image, chosen.rglob("*")))):
        raise InputError(
            f"{chosen}: its masks show no object: they cover all or most of every image alike, as "
            f"the field of view of a camera does. Choose by --masks {chosen.name} or {how}."
        )
    return chosen, (
        f"Masks are read from {chosen.name}/, not from {list_names(others, '/, ')}/; {how} chooses "
        "otherwise.",
    )


def show_no_shape(paths):
    """Whether masks cover everything, or the same large part of every image; looks at a few."""
    shown = []
    for path in paths[:: -(-len(paths) // LOOKS) or 1]:
        try:
            with Image.open(path) as picture:
                alpha = "A" in picture.getbands() and np.ptp(picture.getchannel("A")) > 0
                grey = picture.getchannel("A") if alpha else picture.convert("L")
                small = np.asarray(grey.resize((64, 64), Image.Resampling.NEAREST))
        except Exception:  # the reader will say what is wrong with it
            return False
        shown.append(small > 0)
    if not shown:
        return False
    union, common = np.any(shown, axis=0).mean(), np.all(shown, axis=0).mean()
    return bool(common == 1 or (len(shown) > 1 and common > 0.5 and common > 0.97 * union))


def pair_subfolders(place, classes):
    """The Place itself, or one for each folder in its images that its masks have too.

    images/train and masks/train are such folders; so are images/patient7 and masks/patient7.
    """
    by_class = class_folders(place.masks, classes)
    images = [path for path in subfolders(place.images) if holds_images(path)]
    if holds_files(place.images) or not images:
        passed = [*images, *find_passed_over(place.masks, by_class)]
        read = "the files beside it" if by_class is None else "the folders of the classes"
        warnings = (*place.warnings, *(f"{path}: is not read; {read} are." for path in passed))
        yield replace(place, masks=by_class or place.masks, warnings=warnings)
        return
    masks = {match_name(path.name): path for path in subfolders(place.masks)}
    for path in images:
        truth = masks.get(match_name(path.name))
        if truth is None:
            raise InputError(
                f"{path}: has no folder {place.masks / path.name} of masks beside it; add it or "
                "take the images out."
            )
        inner = (*place.inner, path.name)
        below = replace(place, images=path, masks=truth, inner=inner)
        yield from pair_subfolders(below, classes)
        place = replace(place, warnings=())  # said once


def holds_files(folder):
    """Whether a folder itself, not one in it, holds a file that can be an image."""
    return any(is_image(path) for path in folder.iterdir() if not path.name.startswith("."))


def find_passed_over(masks, by_class):
    """What holds images in a folder of masks, and is not read: folders where the masks lie beside
    them, the folder itself where a folder a class is read, and folders of no class."""
    folders = [path for path in subfolders(masks) if holds_images(path)]
    if by_class is None:
        return folders
    loose = [masks / "*"] if holds_files(masks) else []
    return [*loose, *(path for path in folders if path not in by_class.values())]


def match_name(name):
    """What folders of images and of masks have in common: train and training are the same."""
    return find_split_word(name) or unicodedata.normalize("NFC", name.lower())


def class_folders(folder, classes):
    """Class -> folder, where masks lie in one folder for each class; else None."""
    named = {plain(path.name): path for path in subfolders(folder)}
    found = {name: named.get(plain(name)) for name in classes}
    return found if all(found.values()) else None


def list_names(paths, joint=", "):
    return joint.join(path.name for path in paths)
