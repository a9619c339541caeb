"""Folders of images beside folders of masks, paired by the names of the files.

PraNet's TrainDataset/ and TestDataset/<set>/, Kvasir-SEG, CVC-ClinicDB, DRIVE, train/ val/ test/
and plain images/ masks/ are all this; so are several such folders side by side, images/ and masks/
with the same folders in both, and images and masks that lie together in one folder.
"""

from dataclasses import replace
from functools import partial
from pathlib import PureWindowsPath

import numpy as np

from transfuse_keras.data.layouts.folders import find_places, show_no_shape
from transfuse_keras.data.layouts.groups import Clue, look_up, read_groups
from transfuse_keras.data.layouts.listing import (
    Listing,
    find_split_word,
    image_files,
    read_header,
    read_spacings,
    refuse_structures,
    without_suffix,
)
from transfuse_keras.data.layouts.names import UNDERSTOOD, MaskFiles, Match, divide
from transfuse_keras.data.readers import read_pair
from transfuse_keras.data.samples import Sample
from transfuse_keras.errors import InputError

LOOKED_FOR = (
    "images/ (or image, img, Original) beside masks/ (or mask, gt, Ground Truth, labels, "
    "1st_manual, ann_dir, or another name by --masks), or x.png beside x_mask.png, here or up to "
    "three folders down, as in PraNet's TrainDataset/ and TestDataset/"
)
VOC_SPLITS = "ImageSets/Segmentation"


def find(task, directory, spacing=None, masks=None):
    """Listing of all pairs in `directory`, or None if there is none.

    Args:
        task, directory, spacing: as of `find_samples`.
        masks: name of the folder of masks, or None.
    """
    places = find_places(directory, task.classes, masks)
    if not places:
        if masks is not None:
            raise InputError(f"{directory}: has no folder {masks} beside a folder of images.")
        return None
    if task.field is not None:
        folder = places[0].folder
        raise InputError(f"{folder}: holds images, but the task {task.name} is on volumes.")
    listing, listed_above = Listing(), read_groups(directory)
    listing.notes += dict.fromkeys(note for place in places for note in place.notes)
    for place in places:
        part = find_pairs(task, place, spacing)
        # the only pair of folders needs no prefix
        prefix, folder = "", ""
        if len(places) > 1:
            prefix = "/".join([*place.inner, ""])
            folder = "/".join(x for x in place.inner if find_split_word(x) is None)
        for name, clue in part.clues.items():
            listed = clue.listed or look_up(listed_above, clue.stem, prefix + name)
            listing.clues[prefix + name] = replace(clue, folder=folder, listed=listed)
        part.samples = [
            replace(x, name=prefix + x.name, split=x.split or place.split) for x in part.samples
        ]
        listing.add(part)
    return listing


def find_pairs(task, place, spacing):
    """Listing of the pairs in one Place.

    split, groups, sequences and spacing files are looked for in its folder.
    """
    listing = Listing()
    images, find_masks, masks = list_files(place, task.classes, listing)
    refuse_structures(masks)
    groups, spacings, splits = {}, {}, {}
    if place.images in (place.folder, *place.folder.iterdir()):  # not one of several inside
        groups, spacings = read_groups(place.folder), read_spacings(place.folder, listing.errors)
        splits = read_split_files(place.folder, images, listing)
        warn_of_unknown(listing, place.folder, groups, spacings, images)
    options = {"classes": task.classes, "channels": task.channels, "ignore": task.ignore}
    options |= task.ranges
    used = set()
    for stem, path in images.items():
        match = find_masks(stem)
        used.update(match.paths)
        if splits and stem not in splits:  # as most images of PASCAL VOC, which have no mask
            continue
        if problem := describe_problem(path, match, place, task.classes):
            listing.errors.append(problem)
            continue
        header = read_header(path, spacings.get(stem), listing)
        if header is None:
            continue
        patient, own_spacing = header
        read = read_united if match.united else read_pair
        listing.samples.append(
            Sample(
                stem,
                stem,
                own_spacing or spacing,
                partial(read, path, match.paths, **options),
                split=splits.get(stem),
                files=(path, *match.paths),
            )
        )
        listing.clues[stem] = Clue(stem, listed=look_up(groups, stem, stem), dicom=patient)
    for path in sorted(masks - used):
        listing.errors.append(f"{path}: has no image; add it or take the mask out ({UNDERSTOOD}).")
    warn_of_mask_files(listing, place, sorted(masks), task.classes)
    return listing


def list_files(place, classes, listing):
    """The files of a Place: images by stem, a function of a stem -> Match, and the set of all
    masks."""
    errors, warnings = listing.errors, listing.warnings
    images = image_files(place.images, errors, warnings)
    if place.masks == place.images:
        images, files = divide(images)
        return images, MaskFiles(files, classes).find, set(files.values())
    if not isinstance(place.masks, dict):
        files = image_files(place.masks, errors, warnings)
        for part, found in ((place.images, images), (place.masks, files)):
            if not found:
                texts = any(part.glob("*.txt"))
                remedy = "; YOLO's outlines need their data.yaml" if texts else ""
                raise InputError(f"{part}: holds no images{remedy}.")
        return images, MaskFiles(files, classes).find, set(files.values())
    by_class = {name: image_files(folder, errors, warnings) for name, folder in place.masks.items()}
    lookups = [MaskFiles(files, (name,)) for name, files in by_class.items()]
    if not images:
        raise InputError(f"{place.images}: holds no images.")

    def find_all(stem):
        found = [lookup.find(stem) for lookup in lookups]
        paths = tuple(path for match in found for path in match.paths)
        missing = None if all(match.paths for match in found) else ""
        return Match(paths, missing, doubtful=any(len(match.paths) > 1 for match in found))

    return images, find_all, {path for files in by_class.values() for path in files.values()}


def describe_problem(path, match, place, classes):
    """A sentence on why the masks of an image cannot be used, or None."""
    if match.doubtful or (match.united and len(classes) > 1):
        names = ", ".join(mask.name for mask in match.paths)
        return f"{path}: has several masks, {names}; take out all but one."
    if match.missing is None and match.paths:
        return None
    folders = place.masks.values() if isinstance(place.masks, dict) else [place.masks]
    found = {mask.parent for mask in match.paths} if len(folders) > 1 else ()
    lacking = [
        folder / f"{path.stem}{match.missing}.png" for folder in folders if folder not in found
    ]
    wanted = " and ".join(map(str, lacking))
    return f"{path}: has no mask {wanted}; add it or take the image out ({UNDERSTOOD})."


def read_united(image_path, mask_paths, classes, channels=3, **options):
    """Read an image and its one mask, which is the union of several files."""
    pairs = [read_pair(image_path, (path,), classes, channels, **options) for path in mask_paths]
    return pairs[0][0], np.maximum.reduce([masks for _, masks in pairs])


def read_split_files(folder, images, listing):
    """Stem -> split by text files such as official_split_train.txt, one stem a line."""
    splits = {}
    lists = (*folder.glob("*.txt"), *(folder / VOC_SPLITS).glob("*.txt"))
    for path in sorted(lists):
        split = find_split_word(path.stem)
        if split is None:
            continue
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not a readable text file ({error}).") from error
        for line in filter(None, lines):
            stem = without_suffix(PureWindowsPath(line).name)  # which takes both separators
            if stem not in images:
                listing.errors.append(f"{path}: names {line}, which has no image; take it out.")
            elif splits.setdefault(stem, split) != split:
                listing.errors.append(
                    f"{path}: {line} is already in the {splits[stem]} split; take one out."
                )
    unused = len(images) - len(splits)
    if splits and unused:
        listing.warnings.append(
            f"{folder}: images that are in no split file are not used: {unused}."
        )
    return splits


def warn_of_unknown(listing, folder, groups, spacings, images):
    """Warn of rows in the small tables that name no image."""
    for name, table in (("groups.csv or sequences.csv", groups), ("spacing.csv", spacings)):
        if unknown := [stem for stem in table if stem not in images]:
            listing.warnings.append(
                f"{folder}: {name} has rows without an image: {len(unknown)}, such as {unknown[0]}."
            )


def warn_of_mask_files(listing, place, masks, classes):
    """Warn of masks that may not be what they should."""
    jpeg = sum(
        path.suffix.lower() in (".jpg", ".jpeg") for s in listing.samples for path in s.files[1:]
    )
    if jpeg:
        listing.warnings.append(f"{place.folder}: masks in JPEG files are cut at one half: {jpeg}.")
    if len(classes) == 1 and show_no_shape(masks):
        listing.warnings.append(
            f"{masks[0].parent}: its masks show no object: they cover all or most of every image "
            "alike, as the field of view of a camera does; are they the right ones?"
        )
