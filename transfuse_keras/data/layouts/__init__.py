"""Finding samples in a folder: every known layout is tried, none is asked for."""

from pathlib import Path

from transfuse_keras.data.layouts import arrays, decathlon, isic, pairs
from transfuse_keras.data.layouts.attributes import add_attributes
from transfuse_keras.errors import InputError

# each has LOOKED_FOR, a phrase, and find(task, directory, spacing) -> Listing, or None
LAYOUTS = (decathlon, arrays, isic, pairs)


def find_samples(task, directory, spacing=None):
    """List the samples of a folder; no image is decoded.

    Args:
        task: Task.
        directory: folder in one of the LAYOUTS.
        spacing: (row, column) mm of all images whose spacing is not known otherwise, or None.

    Returns: Listing, samples sorted by name.

    Raises: InputError if no layout fits or the one that does cannot be used at all.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise InputError(f"{directory}: no such folder.")
    for layout in LAYOUTS:
        listing = layout.find(task, directory, spacing)
        if listing is not None:
            add_attributes(listing.samples, directory)
            listing.samples.sort(key=lambda sample: sample.name)
            return listing
    looked_for = "; ".join(layout.LOOKED_FOR for layout in LAYOUTS)
    raise InputError(f"{directory}: no known layout; looked for: {looked_for}.")
