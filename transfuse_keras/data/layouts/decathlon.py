"""Medical Segmentation Decathlon: dataset.json, imagesTr/, labelsTr/ with NIfTI volumes."""

from functools import partial
from pathlib import Path

import numpy as np

from transfuse_keras.data.layouts.listing import Listing
from transfuse_keras.data.nifti import grid, open_nifti, read_volume, save_masks
from transfuse_keras.data.samples import Sample
from transfuse_keras.errors import InputError, blaming
from transfuse_keras.files import read_json

LOOKED_FOR = "dataset.json of the Medical Segmentation Decathlon, here or one folder down"


def find(task, directory, spacing=None):
    """Listing of the labelled volumes, or None without a dataset.json.

    A volume is its own group. Raises: InputError if dataset.json cannot be used.
    """
    found = [
        x for x in (directory, *sorted(directory.glob("*/"))) if (x / "dataset.json").is_file()
    ]
    if not found:
        return None
    if task.field is None:
        raise InputError(f"{directory}: holds volumes, but the task {task.name} is on images.")
    folder, listing = found[0], Listing()
    description = read_description(folder / "dataset.json")
    labels = class_labels(description["labels"], task.classes, folder / "dataset.json")
    for entry in description["training"]:
        path, mask_path = (folder / entry[part] for part in ("image", "label"))
        for file in (path, mask_path):
            if not file.is_file():
                listing.errors.append(f"{file}: is missing, though dataset.json lists it.")
        if not path.is_file() or not mask_path.is_file():
            continue
        try:
            slices, own_spacing = grid(open_nifti(path))
            if not np.allclose(grid(open_nifti(mask_path))[1], own_spacing, rtol=0.01):
                raise ValueError(f"its spacing is not that of its label map {mask_path}")
        except InputError as error:
            listing.errors.append(str(error))
            continue
        except ValueError as error:
            listing.errors.append(f"{path}: {error}; correct its header.")
            continue
        name = path.name.removesuffix(".gz").removesuffix(".nii")
        listing.samples.append(
            Sample(
                name,
                name,
                own_spacing,
                partial(read_volume, path, mask_path, task.classes, task.channels, labels),
                slices=slices,
                files=(path, mask_path),
                save=partial(save_masks, path, labels, task.exclusive),
            )
        )
    return listing


def read_description(path):
    """The content of a dataset.json; InputError if it is none."""
    needs = "it needs 'labels' and 'training' with 'image' and 'label'"
    with blaming(path, "not a Decathlon description", needs):
        content = read_json(path, needs)
        paths = [Path(x[part]) for x in content["training"] for part in ("image", "label")]
        for name in (*paths, *content["labels"].keys(), *content["labels"].values()):
            if not str(name).isprintable():
                raise ValueError(f"{str(name)!r} is no name")
    return content


def class_labels(labels, classes, path):
    """The label value of each class: by name where dataset.json has the same names, else in order.

    Both {"1": "PZ"} and {"PZ": 1} are read. Raises: InputError if there are more or fewer.
    """
    try:
        values = {
            str(name).lower() if str(value).isdigit() else str(value).lower(): int(
                value if str(value).isdigit() else name
            )
            for name, value in labels.items()
        }
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: its labels must be whole numbers ({error}).") from error
    values = {name: value for name, value in values.items() if value != 0}
    if len(values) != len(classes):
        raise InputError(
            f"{path}: lists {len(values)} labels ({', '.join(values)}), but the task has the "
            f"classes {', '.join(classes)}."
        )
    wanted = [name.lower() for name in classes]
    if set(wanted) == set(values):
        return tuple(values[name] for name in wanted)
    return tuple(sorted(values.values()))
