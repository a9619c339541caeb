"""Folders of images beside folders of masks, paired by the names of the files.

PraNet's TrainDataset/ and TestDataset/<set>/, Kvasir-SEG, CVC-ClinicDB, DRIVE, train/ val/ test/
and plain images/ masks/ are all this; so are several such folders side by side, images/ and masks/
with the same folders in both, and images and masks that lie together in one folder.
"""

from collections import Counter
from functools import partial

import numpy as np

from transfuse_keras.data.colours import find_colours
from transfuse_keras.data.layouts.folders import (
    find_places,
    holds_images,
    list_names,
    show_no_shape,
    subfolders,
)
from transfuse_keras.data.layouts.groups import Clue
from transfuse_keras.data.layouts.listing import (
    Listing,
    find_split_word,
    image_files,
    read_header,
    refuse_structures,
)
from transfuse_keras.data.layouts.names import UNDERSTOOD, MaskFiles, Match, divide
from transfuse_keras.data.layouts.tables import read_tables, refuse_other_order
from transfuse_keras.data.readers import read_pair
from transfuse_keras.data.samples import Sample
from transfuse_keras.errors import InputError

LOOKED_FOR = (
    "images/ (or image, img, Original) beside masks/ (or mask, gt, Ground Truth, labels, "
    "1st_manual, ann_dir, or another name by --masks), or x.png beside x_mask.png, here or up to "
    "three folders down, as in PraNet's TrainDataset/ and TestDataset/"
)


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
    listing = Listing()
    for place in places:
        listing.notes += [note for note in place.notes if note not in listing.notes]
        listing.warnings += place.warnings
    files = [list_files(place, task.classes, listing) for place in places]
    # the only pair of folders needs no prefix
    prefixes = ["/".join([*place.inner, ""]) if len(places) > 1 else "" for place in places]
    images = {
        prefix + stem: path
        for prefix, (found, *_) in zip(prefixes, files, strict=True)
        for stem, path in found.items()
    }
    told = {
        prefix + stem: place.split
        for place, prefix, (found, *_) in zip(places, prefixes, files, strict=True)
        for stem in found
    }
    tables = read_tables(directory, images, listing, told)
    left_out = Counter()
    for place, prefix, found in zip(places, prefixes, files, strict=True):
        unused = find_pairs(task, place, prefix, found, tables, spacing, listing)
        left_out.update(tables.unlisted[name] for name in unused)
    listing.warnings += [
        f"{folder}: images that are in no split file are not used: {count}."
        for folder, count in left_out.items()
    ]
    maps = [sample.files[1] for sample in listing.samples if len(sample.files) == 2]
    labelled = len(task.classes) > 1 and not isinstance(places[0].masks, dict)
    if maps and labelled and find_colours(maps[0], ())[0] is None:
        refuse_other_order(directory, task.classes)
    return listing


def find_pairs(task, place, prefix, files, tables, spacing, listing):
    """Add the pairs in one Place to a Listing.

    Args:
        prefix: of the names of its samples.
        files: what `list_files` gave.
        tables: Tables.
        task, spacing: as of `find_samples`.

    Returns: list of the names of images that lists of splits leave out.
    """
    images, find_masks, masks = files
    refuse_structures(masks)
    folder = "/".join(x for x in place.inner if find_split_word(x) is None) if prefix else ""
    options = {"classes": task.classes, "channels": task.channels, "ignore": task.ignore}
    options |= task.ranges
    used, owners, unused, samples = set(), {}, [], []
    for stem, path in images.items():
        name, match = prefix + stem, find_masks(stem)
        used.update(match.paths)
        lists = tables.unlisted.get(name)
        out = lists is not None and (place.split is None or lists.is_relative_to(place.folder))
        if out and (lists not in tables.untrained or not match.paths):
            unused.append(name)  # as most images of PASCAL VOC, which have no mask
            continue
        if problem := describe_problem(path, match, place, task.classes):
            listing.errors.append(problem)
            continue
        if shared := next((owners[mask] for mask in match.paths if mask in owners), None):
            listing.errors.append(
                f"{path}: its mask {match.paths[0].name} is that of {shared.name}, too; give each "
                "image a mask of its own."
            )
            continue
        owners.update(dict.fromkeys(match.paths, path))
        header = read_header(path, tables.spacings.get(name), listing)
        if header is None:
            continue
        patient, own_spacing = header
        read = read_united if match.united else read_pair
        samples.append(
            Sample(
                name,
                stem,
                own_spacing or spacing,
                partial(read, path, match.paths, **options),
                split=tables.splits.get(name) or place.split,
                files=(path, *match.paths),
            )
        )
        listing.clues[name] = Clue(stem, folder, tables.groups.get(name), patient)
    for path in sorted(masks - used):
        listing.errors.append(f"{path}: has no image; add it or take the mask out ({UNDERSTOOD}).")
    listing.samples += samples
    warn_of_mask_files(listing, place, samples, sorted(masks), task.classes)
    return unused


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
                full = list_names(filter(holds_images, subfolders(part)))
                if part == place.masks and full:
                    raise InputError(
                        f"{part}: holds folders of masks, {full}, but not one for each of the "
                        f"classes {', '.join(classes)}; add the missing folders."
                    )
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


def warn_of_mask_files(listing, place, samples, masks, classes):
    """Warn of masks that may not be what they should."""
    jpeg = sum(path.suffix.lower() in (".jpg", ".jpeg") for s in samples for path in s.files[1:])
    if jpeg:
        listing.warnings.append(f"{place.folder}: masks in JPEG files are cut at one half: {jpeg}.")
    if len(classes) == 1 and show_no_shape(masks):
        listing.warnings.append(
            f"{masks[0].parent}: its masks show no object: they cover all or most of every image "
            "alike, as the field of view of a camera does; are they the right ones?"
        )
