"""Volumes listed by a dataset.json: the Medical Segmentation Decathlon's, or that of nnU-Net.

imagesTr/ and labelsTr/ hold volumes of any format; a case is one image, or one for each channel.
"""

from collections import defaultdict
from functools import partial
from pathlib import Path

from transfuse_keras.data.kinds import strip_suffix
from transfuse_keras.data.layouts.listing import Listing
from transfuse_keras.data.samples import Sample
from transfuse_keras.data.volumes import (
    describe,
    open_volume,
    read_volume,
    refuse_other_grid,
    save_masks,
    tell_doubts,
)
from transfuse_keras.errors import InputError, blaming, quantity
from transfuse_keras.files import read_json

LOOKED_FOR = "dataset.json of the Medical Segmentation Decathlon or nnU-Net, here or a folder down"


def find(task, directory, spacing=None):
    """Listing of the labelled volumes, or None without a dataset.json.

    A volume is its own group. Raises: InputError if dataset.json cannot be used.
    """
    folder = find_folder(directory)
    if folder is None:
        return None
    if task.field is None:
        raise InputError(f"{directory}: holds volumes, but the task {task.name} is on images.")
    listing, doubts = Listing(), defaultdict(list)
    cases, labels = read_dataset_json(folder / "dataset.json", task)
    for name, paths, mask_path in cases:
        missing = [path for path in (*paths, mask_path) if not path.exists()]
        listing.errors += [f"{x}: is missing, though dataset.json lists it." for x in missing]
        if missing:
            continue
        try:
            slices, own_spacing, doubt = describe(paths)
            refuse_other_grid(open_volume(paths[0]), open_volume(mask_path))
        except InputError as error:
            listing.errors.append(str(error))
            continue
        doubts[doubt].append(paths[0])
        listing.samples.append(
            Sample(
                name,
                name,
                own_spacing,
                partial(
                    read_volume,
                    paths,
                    mask_path,
                    task.classes,
                    task.channels,
                    labels,
                    ignore=task.ignore,
                ),
                slices=slices,
                files=(*paths, mask_path),
                save=partial(save_masks, paths[0], labels, task.exclusive),
            )
        )
    listing.warnings += tell_doubts(doubts)
    return listing


def find_folder(directory):
    """The folder that holds dataset.json: this one or one of its own; None if there is none."""
    folders = (directory, *sorted(directory.glob("*/")))
    return next((folder for folder in folders if (folder / "dataset.json").is_file()), None)


def read_dataset_json(path, task):
    """The cases and labels of a dataset.json.

    Returns: list of (name, list of image paths, path of the label map), and the label value of
    each class.

    Raises: InputError if it is none, or not of this task.
    """
    needs = "it needs 'labels' and 'training' with 'image' and 'label', or nnU-Net's 'file_ending'"
    with blaming(path, "not a description of volumes", needs):
        content = read_json(path, needs)
        labels = content["labels"]
        entries = find_entries(path.parent, content, task)
        names = [name for paths, mask in entries for name in (*paths, mask)]
        for name in (*names, *labels.keys(), *labels.values()):
            if not str(name).isprintable():
                raise ValueError(f"{str(name)!r} is no name")
    cases = []
    for paths, mask in entries:
        name = strip_suffix(path.parent / mask)
        cases.append((name, [path.parent / x for x in paths], path.parent / mask))
    return cases, class_labels(labels, task, path)


def find_entries(folder, content, task):
    """List of (image names, label name), relative to `folder`."""
    suffixes = task.channel_endings
    if "training" not in content:  # nnU-Net's second version lists no files
        ending, channels = content["file_ending"], content["channel_names"]
        if len(channels) != task.channels:
            raise InputError(
                f"{folder / 'dataset.json'}: lists {quantity(len(channels), 'channel')} "
                f"({', '.join(channels.values())}), the task {task.name} has {task.channels}."
            )
        names = sorted(
            x.name.removesuffix(ending) for x in (folder / "labelsTr").glob(f"*{ending}")
        )
        if len(names) != content["numTraining"]:
            raise InputError(
                f"{folder / 'labelsTr'}: holds {len(names)} label maps, but dataset.json says "
                f"numTraining {content['numTraining']}; correct one of them."
            )
        return [
            ([f"imagesTr/{name}{x}{ending}" for x in suffixes], f"labelsTr/{name}{ending}")
            for name in names
        ]
    entries = []
    for entry in content["training"]:
        image, label = entry["image"], str(Path(entry["label"]))
        images = image if isinstance(image, list) else [image]
        if len(images) == 1 and not (folder / images[0]).exists():
            # nnU-Net's first version lists the case, not the files of its channels
            stem = strip_suffix(Path(images[0]))
            ending = Path(images[0]).name.removeprefix(stem)
            files = [Path(images[0]).with_name(f"{stem}{x}{ending}") for x in suffixes]
            images = files if (folder / files[0]).exists() else images
        if not images:
            raise ValueError(f"no image for {label}")
        entries.append(([str(Path(x)) for x in images], label))
    return entries


def label_values(labels, path):
    """{name in lower case: value} of the labels of a dataset.json but background, which is 0.

    Both {"1": "PZ"} and {"PZ": 1} are read.
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
    return {name: value for name, value in values.items() if value != 0}


def class_labels(labels, task, path):
    """The label value of each class: by name where dataset.json has the same names, else in order.

    The label that nnU-Net calls "ignore" must be that of the task.

    Raises: InputError if there are more labels or fewer.
    """
    values, classes = label_values(labels, path), task.classes
    ignored = values.pop("ignore", None) if "ignore" not in classes else None
    if ignored not in (None, task.ignore):
        raise InputError(
            f"{path}: the label {ignored} marks voxels to leave out; give ignore={ignored} in a "
            "task file."
        )
    if task.ignore in values.values():
        raise InputError(f"{path}: has a class of label {task.ignore}, which the task ignores.")
    if len(values) != len(classes):
        raise InputError(
            f"{path}: lists {quantity(len(values), 'label')} ({', '.join(values)}), but the task "
            f"has the classes {', '.join(classes)}."
        )
    wanted = [name.lower() for name in classes]
    if set(wanted) == set(values):
        return tuple(values[name] for name in wanted)
    return tuple(sorted(values.values()))
