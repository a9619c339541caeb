"""A data set in any layout, written as plain images and masks that anybody can look at."""

import csv
import shutil
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from transfuse_keras.data.class_names import plain
from transfuse_keras.data.classes import make_task
from transfuse_keras.data.kinds import IMAGES
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.layouts.listing import find_split_word, is_image
from transfuse_keras.data.palettes import voc_palette
from transfuse_keras.data.resize import IGNORED
from transfuse_keras.errors import InputError
from transfuse_keras.files import replacing

UNSPLIT = "rest"  # folder of images in no split, where others are in one


def convert(directory, out, task=None, spacing=None, masks=None, group=None):
    """Write a data set as `images/` and `masks/`, in `train/`, `val/` and `test/` if it is split.

    Images are copied as they are. Masks are PNG: of one class 0 and 255, of exclusive classes a
    label map in the colours of PASCAL VOC, else a folder a class. Patients, attributes and spacing
    are kept in groups.csv and spacing.csv, the names of labels in classes.txt.

    Args:
        directory: folder in a known layout, with images.
        out: Path of a folder that is not there, or empty.
        task: Task; None for the classes that are found, which may overlap but in label maps.
        spacing, masks, group: as of `find_samples`.

    Returns: the Listing of what was written.

    Raises: InputError if something cannot be read; nothing is written then.
    """
    directory, out = Path(directory), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is there already; give another folder for --out.")
    if out.resolve().is_relative_to(directory.resolve()):
        raise InputError(f"{out}: lies in the data; give a folder outside for --out.")
    if task is None:
        task = make_task(directory, masks)
    if task.field is not None:
        raise InputError(f"{directory}: holds volumes; only images can be converted.")
    listing = find_samples(task, directory, spacing, masks, group)
    if listing.errors:
        raise InputError(listing.errors[0])
    places = place_samples(listing.samples, task)
    with replacing(out) as temporary, ThreadPoolExecutor() as pool:
        for folder, samples in places.items():
            write_sample_tables(temporary / folder, samples, listing.patients)
            jobs = [(temporary / folder, stem, x, task) for stem, x in samples.items()]
            for _ in pool.map(lambda job: write_sample(*job), jobs):
                pass
        if task.exclusive and len(task.classes) > 1:
            (temporary / "classes.txt").write_text("\n".join(task.classes) + "\n", encoding="utf-8")
    return listing


def place_samples(samples, task):
    """Folder -> {stem: Sample}: where each sample is written.

    Raises: InputError if two would have one name, or two classes one folder.
    """
    if len({plain(name) for name in task.classes} - {""}) < len(task.classes):
        raise InputError(f"The classes {', '.join(task.classes)} are too much alike; rename one.")
    is_split, places = any(sample.split for sample in samples), defaultdict(dict)
    for sample in samples:
        parts = [x for x in sample.name.split("/") if not sample.split or not find_split_word(x)]
        stem = "_".join(parts) or sample.file_name
        folder = (sample.split or UNSPLIT) if is_split else ""
        if stem in places[folder]:
            other = places[folder][stem].name
            raise InputError(f"{sample.name}: would have the same name as {other}; rename one.")
        places[folder][stem] = sample
    return places


def write_sample_tables(folder, samples, patients):
    """Write what is known of samples beside their pixels: groups.csv and spacing.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    heads = list(dict.fromkeys(name for sample in samples.values() for name in sample.attributes))
    if patients or heads:
        rows = [
            [stem, x.group if patients else "", *(x.attributes.get(name, "") for name in heads)]
            for stem, x in samples.items()
        ]
        write_rows(folder / "groups.csv", [["stem", "group", *heads], *rows])
    if rows := [[stem, *x.spacing] for stem, x in samples.items() if x.spacing]:
        write_rows(folder / "spacing.csv", [["stem", "row", "column"], *rows])


def write_rows(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def write_sample(folder, stem, sample, task):
    """Write one image and its masks."""
    image, masks = sample.read()
    source, images = sample.files[0], folder / "images"
    images.mkdir(exist_ok=True)
    if is_image(source):
        shutil.copyfile(source, images / f"{stem}{suffix_of(source)}")
    else:
        pixels = image if image.shape[2] == 3 else image[..., 0]
        Image.fromarray(pixels).save(images / f"{stem}.png")
    ignored, several = (masks == IGNORED).any(axis=-1), len(task.classes) > 1
    if several and not task.exclusive:
        for k, name in enumerate(task.classes):
            save_mask(folder / "masks" / plain(name) / f"{stem}.png", masks[..., k], ignored, task)
    elif several:
        labels = (masks == 1) @ np.arange(1, len(task.classes) + 1)
        save_mask(folder / "masks" / f"{stem}.png", labels, ignored, task, labelled=True)
    else:
        save_mask(folder / "masks" / f"{stem}.png", masks[..., 0], ignored, task)


def suffix_of(path):
    """The suffix of an image; DICOM files may have none, or a number that looks like one."""
    return path.suffix if path.suffix.lower() in IMAGES else ".dcm"


def save_mask(path, labels, ignored, task, labelled=False):
    """Save a mask of 0 and 1 as 0 and 255, or as labels where there are more or ignored ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = labels.astype("uint8")
    if not labelled and task.ignore is None:
        Image.fromarray(255 * labels).save(path)
        return
    labels[ignored] = task.ignore or 0
    picture = Image.fromarray(labels)
    picture.putpalette(voc_palette().astype("uint8").ravel().tolist())
    picture.save(path)
