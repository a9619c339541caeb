"""What is to be predicted: the images, frames and volumes that files, folders and patterns hold."""

import glob
import logging
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from transfuse_keras.data.kinds import IMAGES, is_dicom, is_volume, strip_suffix
from transfuse_keras.errors import InputError, quantity

log = logging.getLogger(__name__)

FILES_NAMED = 5  # names in a sentence
# the other half of a volume of two files
HALVES = {".img": (".hdr",), ".raw": (".mhd", ".nhdr"), ".zraw": (".mhd",)}


@dataclass(frozen=True)
class Input:
    """One image, frame or volume.

    Attributes:
        name: of what is written for it, without suffix.
        sources: the file of an image; of a volume one for each channel or for all, as
            `data.volumes` takes them.
        frame: which one of a DICOM file with several, from 0; else None.
    """

    name: str
    sources: tuple
    frame: int | None = None

    @property
    def files(self):
        """All files it is read from."""
        parts = [x if isinstance(x, tuple) else (x,) for x in self.sources]
        return [path for part in parts for path in part]


def find_inputs(inputs, task):
    """What files, folders (what lies directly in them) and patterns stand for, each once.

    Returns: list of Input, and a sentence on each that is passed over, with the reason.

    Raises: InputError if one stands for nothing of the task's kind.
    """
    kind = "images" if task.field is None else "volumes"
    chosen, passed = {}, []
    for given in inputs:
        path = Path(given)
        if path.is_file():
            if is_other_kind(path, task):
                raise InputError(f"{path}: the task {task.name} takes {kind}.")
            files, others = [path], []
        else:
            found = (
                path.iterdir()
                if path.is_dir()
                else map(Path, glob.glob(str(given), recursive=True))
            )
            files, others = sort_out(found, task)
        unread = find_unread(path, files, task)
        told = f"{given}: {kind} in subfolders are not read, such as {unread}; "
        told += f"'{path / '**' / '*'}' as --input reads them, too."
        if not files:
            raise InputError(told if unread else f"{given}: no such file, or no {kind} there.")
        if unread:
            log.warning(told)
        if others:
            passed.append(describe_passed(given, others, kind))
        chosen.update({locate(file): file for file in files})
    if not chosen:
        raise InputError(f"Nothing to predict; give {kind} or folders of them.")
    find = find_images if task.field is None else find_volumes
    return find(list(chosen.values()), task, passed), passed


def is_other_kind(path, task):
    """Whether a file is a volume for a task on images, or an image for one on volumes."""
    return is_volume(path) if task.field is None else not (is_volume(path) or is_dicom(path))


def sort_out(paths, task):
    """The files among `paths` that are of the task's kind, and those that are not; both sorted."""
    paths = [path for path in paths if not path.name.startswith(".")]
    if task.field is not None:  # a pattern may stand for the folders of series
        folders = [path for path in paths if path.is_dir()]
        paths += [x for folder in folders for x in folder.iterdir() if x.is_file() and is_dicom(x)]
    files, others = [], []
    for path in sorted(path for path in paths if not path.is_dir()):
        if not path.is_file():  # a link that leads nowhere
            others.append(path)
            continue
        halves = HALVES.get(path.suffix.lower(), ())
        if any(path.with_suffix(suffix).is_file() for suffix in halves):
            continue
        (files if is_wanted(path, task) else others).append(path)
    return files, others


def is_wanted(path, task):
    """Whether a file in a folder is of the task's kind."""
    known = is_dicom(path) or path.suffix.lower() in IMAGES
    return not is_other_kind(path, task) and (known or task.field is not None)


def find_unread(folder, files, task):
    """A file of the task's kind in a folder below `folder` that is not among `files`, or None."""
    read = set(files)
    below = (path for path in folder.rglob("*") if path.parent != folder and path not in read)
    seen = (path for path in below if not path.name.startswith(".") and path.is_file())
    return next((path for path in seen if is_wanted(path, task)), None)


def describe_passed(given, others, kind):
    names = ", ".join(path.name for path in others[:FILES_NAMED])
    more = f" and {len(others) - FILES_NAMED} more" if len(others) > FILES_NAMED else ""
    return f"{given}: passed over, as they are no {kind}: {names}{more}."


def locate(path):
    """Where a file lies, whatever way leads there; a link lies where it is, not where it points."""
    return path.parent.resolve() / path.name


def find_images(paths, task, passed):
    """An Input for each image, and for each frame of a DICOM file of several: NAME_0001 ..."""
    found = []
    for path in paths:
        name = path.stem if path.suffix.lower() in IMAGES else path.name
        try:
            count = count_image_frames(path)
        except InputError as error:
            passed.append(str(error))
            continue
        if count == 1:
            found.append(Input(name, (path,)))
        else:
            found += [Input(f"{name}_{i + 1:04}", (path,), i) for i in range(count)]
    return found


def count_image_frames(path):
    """Number of frames of an image, 1 of most; InputError if a DICOM file holds none."""
    if not is_dicom(path):
        return 1
    from transfuse_keras.data import dicom  # and pydicom, which takes seconds

    return dicom.count_frames(path)


def find_volumes(paths, task, passed):
    """An Input for each volume, series of DICOM slices, or set of files with a channel each."""
    from transfuse_keras.data.dicom_series import find_series

    volumes = [path for path in paths if is_volume(path)]
    found = find_cases(volumes, task, passed)
    series, without = find_series([path for path in paths if not is_volume(path)])
    passed += without
    names = defaultdict(list)
    for uid, slices in series.items():
        names[slices[0].resolve().parent.name].append((uid, slices))
    for name, parts in names.items():
        if len(parts) == 1:
            found.append(Input(name, (parts[0][1],)))
            continue
        several = {f"{name}_{i}": part for i, part in enumerate(parts, 1)}
        told = [describe_series(own, *part) for own, part in several.items()]
        log.info(f"{name}: several series: {'; '.join(told)}.")
        found += [Input(own, (slices,)) for own, (_, slices) in several.items()]
    return found


def describe_series(name, uid, slices):
    """Which series the Input of a name is, and where its slices lie."""
    from transfuse_keras.data.dicom import open_image

    about = open_image(slices[0]).get("SeriesDescription")
    about = f" ({about})" if about else ""
    return f"{name} is {uid}{about}, {quantity(len(slices), 'slice')} in {slices[0].parent}"


def find_cases(paths, task, passed):
    """An Input for each volume, or for the files of one that has a file a channel."""
    suffixes = task.channel_endings if task.channels > 1 else ()
    found, cases = [], defaultdict(dict)
    for path in paths:
        stem = strip_suffix(path)
        ending = next((x for x in suffixes if stem.endswith(x)), None)
        if ending is None:
            found.append(Input(stem, (path,)))
        else:
            cases[path.parent, stem.removesuffix(ending)][ending] = path
    for (folder, name), parts in cases.items():
        missing = [x for x in suffixes if x not in parts]
        if missing:
            file = next(iter(parts.values()))
            passed.append(f"{file}: passed over, as {folder / name}{missing[0]} is missing.")
        else:
            found.append(Input(name, tuple(parts[x] for x in suffixes)))
    return found
