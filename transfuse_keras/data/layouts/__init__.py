"""Finding samples in a folder: every known layout is tried, none is asked for."""

from dataclasses import replace
from pathlib import Path

from transfuse_keras.data.layouts import (
    annotations,
    arrays,
    decathlon,
    isic,
    pairs,
    segmentations,
)
from transfuse_keras.data.layouts.attributes import add_attributes
from transfuse_keras.data.layouts.groups import group_samples
from transfuse_keras.data.layouts.listing import join_copies, refuse_structures
from transfuse_keras.data.layouts.objects import files_below
from transfuse_keras.data.layouts.tables import read_tables
from transfuse_keras.errors import InputError, quantity

# each has LOOKED_FOR, a phrase, and find(task, directory, spacing) -> Listing, or None
LAYOUTS = (decathlon, arrays, isic, segmentations, annotations, pairs)


def group_by_table(listing, directory):
    """Give the samples of a layout without clues, as of volumes, the groups of a groups.csv."""
    images = {x.name: x.files[0] for x in listing.samples}
    groups = read_tables(directory, images, listing, lists=False).groups
    if not groups:
        return
    listing.samples = [replace(x, group=groups.get(x.name, x.group)) for x in listing.samples]
    listing.patients = True
    count = quantity(len({x.group for x in listing.samples}), "patient")
    listing.notes.append(f"groups.csv or sequences.csv tells the patients; {count}.")


def find_samples(task, directory, spacing=None, masks=None, group=None):
    """List the samples of a folder; no image is decoded.

    Args:
        task: Task.
        directory: folder in one of the LAYOUTS.
        spacing: (row, column) mm of all images whose spacing is not known otherwise, or None.
        masks: name of the folder of masks or of the file of annotations, where several may be
            meant; None to choose.
        group: what tells the patient of an image: "none", "prefix", "folder", a CSV file with the
            columns stem,group, or a regular expression on the stems; None to find out.

    Returns: Listing, samples sorted by name.

    Raises: InputError if no layout fits or the one that does cannot be used at all.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise InputError(f"{directory}: no such folder.")
    for layout in LAYOUTS if masks is None else (annotations, pairs):
        options = {} if masks is None else {"masks": masks}
        listing = layout.find(task, directory, spacing, **options)
        if listing is not None:
            table = Path(group) if group is not None and Path(group).is_file() else None
            add_attributes(listing.samples, directory, table)
            listing.samples.sort(key=lambda sample: sample.name)
            if listing.clues or group is not None:
                group_samples(listing, task, group)
            if not listing.clues and group is None:
                group_by_table(listing, directory)
            if listing.clues and all(sample.split != "val" for sample in listing.samples):
                join_copies(listing.samples)
            return listing
    refuse_structures(files_below(directory))
    looked_for = "; ".join(layout.LOOKED_FOR for layout in LAYOUTS)
    raise InputError(f"{directory}: no known layout; looked for: {looked_for}.")
