"""Finding image and mask pairs in a folder."""

from functools import partial
from pathlib import Path

from transfuse_keras.data.readers import read_pair
from transfuse_keras.data.samples import Sample
from transfuse_keras.errors import InputError

SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}


def find_samples(task, directory):
    """The samples of `directory`/images and `directory`/masks, paired by file stem.

    Masks are label maps. The patient is the part of the stem before its first "_"
    (`p07_s12.png` is of patient p07), or the whole stem. Pixel spacing is unknown.

    Args:
        task: Task.
        directory: folder holding images/ and masks/.

    Returns: list of Sample, sorted by name; no file has been decoded yet.

    Raises: InputError if a folder is missing or empty, or an image or mask has no partner.
    """
    directory = Path(directory)
    images, masks = (list_images(directory, part) for part in ("images", "masks"))
    for stem in images:
        if stem not in masks:
            raise InputError(
                f"{images[stem]}: has no mask {directory / 'masks' / stem}.png; add it or take "
                "the image out."
            )
    for stem in masks:
        if stem not in images:
            raise InputError(f"{masks[stem]}: has no image; add it or take the mask out.")
    return [
        Sample(stem, stem.split("_")[0], None, partial(read_pair, path, masks[stem], task.classes))
        for stem, path in sorted(images.items())
    ]


def list_images(directory, part):
    """File stem -> path of the images in `directory`/`part`."""
    folder = directory / part
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; --data wants one with images/ and masks/.")
    paths = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES:
            if path.stem in paths:
                raise InputError(f"{path}: {paths[path.stem].name} has the same stem; rename one.")
            paths[path.stem] = path
    if not paths:
        raise InputError(f"{folder}: holds no images ({', '.join(sorted(SUFFIXES))}).")
    return paths
