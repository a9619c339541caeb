"""ISIC challenge folders of 2016, 2017 and 2018: ISIC_*.jpg, elsewhere *_segmentation.png."""

from functools import partial

from transfuse_keras.data.layouts.groups import Clue
from transfuse_keras.data.layouts.listing import Listing, find_split_word, image_files
from transfuse_keras.data.layouts.tables import read_tables
from transfuse_keras.data.readers import read_pair
from transfuse_keras.data.samples import Sample
from transfuse_keras.errors import InputError

LOOKED_FOR = "folders of ISIC_*.jpg and of ISIC_*_segmentation.png"
ENDING = "_segmentation"


def find(task, directory, spacing=None):
    """Listing of a challenge folder, or None if nothing is named like one.

    The split is what the name of the image folder says (Training, Validation, Test); the folders
    may lie in `directory`, or one or two folders further down.
    """
    folders = [
        path
        for path in (directory, *directory.glob("*/"), *directory.glob("*/*/"))
        if not path.name.startswith((".", "__"))
    ]
    listing = Listing()
    masks, images = {}, []
    for folder in sorted(folders):
        found = image_files(folder, [])
        truths = {x[: -len(ENDING)]: y for x, y in found.items() if x.lower().endswith(ENDING)}
        masks.update(truths)
        pictures = {
            stem: path
            for stem, path in found.items()
            if stem.startswith("ISIC_") and stem not in truths and stem[5:].isdigit()
        }
        if pictures:
            images.append((folder, pictures))
    if not masks or not images:
        return None
    if task.field is not None or len(task.classes) > 1:
        raise InputError(f"{directory}: ISIC masks have one class, unlike the task {task.name}.")
    options = {"classes": task.classes, "channels": task.channels, "ignore": task.ignore}
    options |= task.ranges
    named = {stem: path for _, pictures in images for stem, path in pictures.items()}
    groups = read_tables(directory, named, listing, lists=False).groups
    for folder, pictures in images:
        inner = folder.relative_to(directory).as_posix()
        for stem, path in pictures.items():
            if stem not in masks:
                listing.errors.append(
                    f"{path}: has no mask {stem}{ENDING}.png; add it or take the image out."
                )
                continue
            listing.clues[stem] = Clue(stem, listed=groups.get(stem))
            listing.samples.append(
                Sample(
                    stem,
                    stem,
                    spacing,
                    partial(read_pair, path, (masks[stem],), **options),
                    split=find_split_word(inner),
                    files=(path, masks[stem]),
                )
            )
    for stem in sorted(masks.keys() - named.keys()):
        listing.errors.append(f"{masks[stem]}: has no image; add it or take the mask out.")
    return listing
