"""Folders of images beside folders of masks, paired by file stem.

PraNet's TrainDataset/ and TestDataset/<set>/, Kvasir-SEG, CVC-ClinicDB, train/ val/ test/ and
plain images/ masks/ are all this; so are several such folders side by side.
"""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

from transfuse_keras.data.dicom import dicom_header, is_dicom
from transfuse_keras.data.layouts.listing import (
    Listing,
    check_spacing,
    find_split_word,
    image_files,
    join_copies,
    read_groups,
    read_spacings,
    without_suffix,
)
from transfuse_keras.data.readers import read_pair
from transfuse_keras.data.samples import Sample
from transfuse_keras.errors import InputError

IMAGES = {"images", "image", "imgs", "img", "original", "originals"}
MASKS = {"masks", "mask", "ground truth", "groundtruth", "ground_truth", "gt", "labels", "label"}
LOOKED_FOR = (
    "images/ (or image, img, Original) beside masks/ (or mask, gt, Ground Truth, labels), here or "
    "up to three folders down, as in PraNet's TrainDataset/ and TestDataset/"
)
DEPTH = 3  # folders below the given one that are searched
MASK_ENDINGS = ("", "_mask", "_segmentation")  # behind the stem of the image


def find(task, directory, spacing=None):
    """Listing of all pairs of folders in `directory`, or None if there is none."""
    folders = list(find_folders(directory, DEPTH))
    if not folders:
        return None
    listing = Listing()
    for folder, images, masks in folders:
        part = find_pairs(task, folder, images, masks, spacing)
        inner = folder.relative_to(directory)
        splits = {find_split_word(name) for name in inner.parts} - {None}
        split = splits.pop() if len(splits) == 1 else None
        # the only pair of folders needs no prefix
        prefix = f"{inner.as_posix()}/" if len(folders) > 1 else ""
        part.samples = [
            replace(
                sample,
                name=prefix + sample.name,
                group=sample.group if len(folders) == 1 or split else prefix + sample.group,
                split=sample.split or split,
            )
            for sample in part.samples
        ]
        listing.add(part)
    if all(sample.split is None for sample in listing.samples):
        groups = join_copies(listing.samples)
        listing.samples = [replace(x, group=groups[x.name]) for x in listing.samples]
    return listing


def find_folders(directory, depth):
    """All (folder, its images folder, its masks folder) from `directory` down."""
    children = sorted(
        path
        for path in directory.iterdir()
        if path.is_dir() and not path.name.startswith((".", "_"))
    )
    if any(path.name.lower() == "png" for path in children):  # CVC-ClinicDB comes as both
        children = [path for path in children if path.name.lower() != "tif"]
    images, masks = ([x for x in children if x.name.lower() in names] for names in (IMAGES, MASKS))
    if images and masks:
        yield directory, images[0], masks[0]
    elif depth:
        for child in children:
            yield from find_folders(child, depth - 1)


def find_pairs(task, folder, image_folder, mask_folder, spacing):
    """Listing of the pairs in one folder of images and one of masks.

    split, groups, sequences and spacing files are looked for in `folder`.
    """
    listing = Listing()
    if task.field is not None:
        raise InputError(f"{folder}: holds images, but the task {task.name} is on volumes.")
    images, masks = (image_files(part, listing.errors) for part in (image_folder, mask_folder))
    for part, found in ((image_folder, images), (mask_folder, masks)):
        if not found:
            raise InputError(f"{part}: holds no images.")
    groups, spacings = read_groups(folder), read_spacings(folder, listing.errors)
    splits = read_split_files(folder, images, listing)
    used = set()
    for stem, path in images.items():
        paths, missing = find_masks(stem, masks, task.classes)
        used.update(paths)
        if missing:
            wanted = mask_folder / f"{stem}{missing if missing != '.' else ''}.png"
            listing.errors.append(f"{path}: has no mask {wanted}; add it or take the image out.")
            continue
        patient, own_spacing = None, spacings.get(stem)
        if is_dicom(path):
            try:
                patient, header_spacing = dicom_header(path)
                own_spacing = own_spacing or (header_spacing and check_spacing(header_spacing))
            except InputError as error:
                listing.errors.append(str(error))
                continue
            except ValueError as error:
                listing.errors.append(f"{path}: its spacing {error}.")
                continue
        group = groups.get(stem) or patient or re.match(task.patient, stem)
        listing.samples.append(
            Sample(
                stem,
                group if isinstance(group, str) else group.group() if group else stem,
                own_spacing or spacing,
                partial(
                    read_pair,
                    path,
                    paths,
                    task.classes,
                    task.channels,
                    ignore=task.ignore,
                    value_range=task.value_range,
                ),
                split=splits.get(stem),
                files=(path, *paths),
            )
        )
    if splits:
        listing.samples = [sample for sample in listing.samples if sample.split]
    for path in sorted(set(masks.values()) - used):
        listing.errors.append(f"{path}: has no image; add it or take the mask out.")
    warn(listing, folder, groups, spacings, images)
    return listing


def find_masks(stem, masks, classes):
    """Paths of the masks of an image, and "." or the ending of the first that is missing."""
    for ending in MASK_ENDINGS:
        if stem + ending in masks:
            return (masks[stem + ending],), None
    endings = [f"_{name}" for name in classes]
    found = [masks[stem + ending] for ending in endings if stem + ending in masks]
    if len(found) == len(endings):
        return tuple(found), None
    return tuple(found), next(x for x in endings if stem + x not in masks) if found else "."


def read_split_files(folder, images, listing):
    """Stem -> split by text files such as official_split_train.txt, one stem a line."""
    splits = {}
    for path in sorted(folder.glob("*.txt")):
        split = find_split_word(path.stem)
        if split is None:
            continue
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not a readable text file ({error}).") from error
        for line in filter(None, lines):
            stem = without_suffix(Path(line).name)
            if stem not in images:
                listing.errors.append(f"{path}: names {line}, which has no image; take it out.")
            elif splits.setdefault(stem, split) != split:
                listing.errors.append(
                    f"{path}: {line} is already in the {splits[stem]} split; take one out."
                )
    unused = len(images) - len(splits)
    if splits and unused:
        listing.warnings.append(f"{folder}: {unused} images are in no split file: not used.")
    return splits


def warn(listing, folder, groups, spacings, images):
    """Add what training can live with but a user wants to know."""
    jpeg = sum(
        path.suffix.lower() in (".jpg", ".jpeg") for s in listing.samples for path in s.files[1:]
    )
    if jpeg:
        listing.warnings.append(f"{folder}: {jpeg} masks are JPEG files: thresholded at one half.")
    for name, table in (("groups.csv or sequences.csv", groups), ("spacing.csv", spacings)):
        if unknown := [stem for stem in table if stem not in images]:
            listing.warnings.append(
                f"{folder}: {name} names {len(unknown)} stems without an image, "
                f"such as {unknown[0]}."
            )
