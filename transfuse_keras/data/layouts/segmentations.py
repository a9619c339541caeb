"""DICOM images and the DICOM SEG files that name them, in any folders."""

from collections import defaultdict
from dataclasses import replace
from functools import cache, partial

from pydicom.filereader import read_file_meta_info

from transfuse_keras.data import dicom, volumes
from transfuse_keras.data.dicom_masks import (
    normalize_label,
    open_segmentation,
    read_segmented_image,
    read_segmented_series,
)
from transfuse_keras.data.dicom_planes import find_turn, place_plane
from transfuse_keras.data.kinds import DICOM, IMAGES, is_dicom, is_volume
from transfuse_keras.data.layouts.groups import Clue
from transfuse_keras.data.layouts.listing import (
    TEXTS,
    Listing,
    check_spacing,
    find_split_word,
    without_suffix,
)
from transfuse_keras.data.layouts.tables import read_tables
from transfuse_keras.data.quiet import reading
from transfuse_keras.data.samples import Sample
from transfuse_keras.errors import InputError
from transfuse_keras.tasks import Task

LOOKED_FOR = "DICOM images with DICOM SEG files that name them, in any folders"


def find(task, directory, spacing=None):
    """Listing of the images, frames or series that a SEG is of; None if there is no SEG.

    Args:
        task, directory, spacing: as of `find_samples`.
    """
    files = [path for path in sorted(directory.rglob("*")) if may_be_dicom(path)]
    if not any(map(is_segmentation, files)):
        return None
    listing = Listing()
    images, segs = open_all(files, task, listing)
    of_image = defaultdict(list)
    for seg in segs:
        absent = sorted(uid for uid, _ in seg.frames if uid not in images)
        if absent:
            listing.errors.append(
                f"{seg.path}: is of the image {absent[0]}, which is not there; add it or take the "
                "SEG out."
            )
        for uid in seg.images & images.keys():
            of_image[uid].append(seg)
    build = image_samples if task.field is None else series_samples
    samples = list(build(task, images, of_image, listing, directory))
    places = {sample.name: sample.files[0] for sample in samples}
    groups = read_tables(directory, places, listing, lists=False).groups
    read_header = cache(dicom.dicom_header)  # a cine is a sample a frame
    for sample in samples:
        path = sample.files[0]
        try:
            patient, own = read_header(path)
            own = check_spacing(own) if own and task.field is None else sample.spacing
        except (InputError, ValueError) as error:
            listing.errors.append(f"{path}: its spacing or patient cannot be used ({error}).")
            continue
        inner = path.relative_to(directory).parts[:-1]
        splits = {find_split_word(part) for part in inner} - {None}
        folder = "/".join(part for part in inner if find_split_word(part) is None)
        stem = sample.name.rpartition("/")[2]
        listing.clues[sample.name] = Clue(stem, folder, groups.get(sample.name), patient)
        split = splits.pop() if len(splits) == 1 else None
        listing.samples.append(replace(sample, spacing=own or spacing, split=split))
    return listing


def read_segments(directory):
    """What the SEGs of a folder hold: (labels of their segments, whether one is of several images,
    so of a series); None if there is no SEG.

    Raises: InputError if one is damaged.
    """
    files = [path for path in sorted(directory.rglob("*")) if may_be_dicom(path)]
    labels, is_series = {}, False
    for path in filter(is_segmentation, files):
        seg = open_segmentation(path, Task("", ()))
        labels |= {normalize_label(label): label for label in seg.left_out}
        is_series |= len(seg.images) > 1
    return (tuple(labels.values()), is_series) if labels else None


def may_be_dicom(path):
    if path.name.startswith(".") or not path.is_file():
        return False
    suffix = path.suffix.lower()
    if suffix in DICOM:
        return True
    return suffix not in IMAGES | TEXTS and not is_volume(path) and is_dicom(path)


def is_segmentation(path):
    try:
        with reading():
            kind = read_file_meta_info(path).get("MediaStorageSOPClassUID")
    except Exception:  # the reader will say what is wrong with it
        return False
    return kind in dicom.SEGMENTATIONS


def open_all(files, task, listing):
    """SOPInstanceUID -> (path, header) of the images, and the list of all Segmentations; what
    cannot be used is added to the errors of the Listing."""
    images, segs = {}, []
    for path in files:
        try:
            if is_segmentation(path):
                segs.append(open_segmentation(path, task))
                continue
            header = dicom.open_image(path)
        except InputError as error:
            listing.errors.append(str(error))
            continue
        uid = str(header.get("SOPInstanceUID"))
        if uid in images:
            listing.errors.append(f"{path}: is the image {images[uid][0]} again; take one out.")
        else:
            images[uid] = path, header
    left_out = sorted({label for seg in segs for label in seg.left_out})
    if left_out:
        listing.notes.append(
            f"Segments that are no class of the task are left out: {', '.join(left_out)}."
        )
    return images, segs


def image_samples(task, images, of_image, listing, directory):
    """A Sample of every image, and of every frame of a cine."""
    unnamed = 0
    for uid, (path, header) in images.items():
        problem = find_problem(path, of_image[uid], task)
        if problem:
            listing.errors.append(problem)
            continue
        segs, count = of_image[uid], dicom.frames_in(header, path)
        name = "/".join([*path.relative_to(directory).parts[:-1], without_suffix(path.name)])
        try:
            found = [collect_planes(segs, path, header, i + 1, count) for i in range(count)]
        except InputError as error:
            listing.errors.append(str(error))
            continue
        for number, (planes, named) in enumerate(found, 1):
            unnamed += not named
            frame = None if count == 1 else number - 1
            yield Sample(
                name if count == 1 else f"{name}_{number:04}",
                name,
                None,
                partial(read_segmented_image, path, frame, planes, task, **task.ranges),
                files=(path, *(seg.path for seg in segs)),
            )
    note_empty(listing, unnamed, "images or frames")


def series_samples(task, images, of_image, listing, directory):
    """A Sample of every series."""
    series, unnamed = defaultdict(list), 0
    for uid, (path, header) in images.items():
        series[str(header.get("SeriesInstanceUID"))].append((uid, path, header))
    names = set()
    for slices in series.values():
        paths = tuple(path for _, path, _ in slices)
        segs = list({id(seg): seg for uid, *_ in slices for seg in of_image[uid]}.values())
        problem = find_problem(paths[0].parent, segs, task)
        try:
            count, spacing, _ = volumes.describe([paths])
            found = [collect_planes(segs, path, header, 1, 1) for _, path, header in slices]
        except InputError as error:
            problem = str(error)
        if problem:
            listing.errors.append(problem)
            continue
        planes = {path: x for path, (x, _) in zip(paths, found, strict=True)}
        unnamed += sum(not named for _, named in found)
        folder = paths[0].parent.relative_to(directory).as_posix()
        name = paths[0].parent.name if folder == "." else folder
        name = next(x for x in (name, *(f"{name}_{i}" for i in range(2, 999))) if x not in names)
        names.add(name)
        labels = range(1, len(task.classes) + 1)
        yield Sample(
            name,
            name,
            spacing,
            partial(read_segmented_series, paths, planes, task),
            slices=count,
            files=(paths[0], *(seg.path for seg in segs)),
            save=partial(volumes.save_masks, paths, labels, task.exclusive),
        )
    note_empty(listing, unnamed, "slices")


def find_problem(path, segs, task):
    """Why the SEGs of an image cannot be its masks, or None."""
    if not segs:
        return f"{path}: no DICOM SEG is of it; add one or take the image out."
    for i, name in enumerate(task.classes):
        having = [seg for seg in segs if i in seg.classes.values()]
        if not having:
            return (
                f"{segs[0].path}: has no segment {name}; name it so, or give its coded term in "
                "codes of a task file."
            )
        if len(having) > 1:
            return (
                f"{having[0].path} and {having[1].path}: both have {name} of {path}; take one out."
            )
    return None


def collect_planes(segs, path, header, number, count):
    """What `read_planes` takes for a frame of an image, and whether any frame of a SEG names it;
    InputError if one that does lies on other pixels."""
    planes, named = defaultdict(list), False
    uid, size = str(header.get("SOPInstanceUID")), (header.Rows, header.Columns)
    place = locate(path, header, number - 1)
    for seg in segs:
        for key in ((uid, number), *([(uid, None)] if count == 1 else [])):
            named |= key in seg.frames
            for k, indices in seg.frames.get(key, {}).items():
                for index in indices:
                    turn = lay_on(seg, index, size, place, path)
                    planes[k].append((seg.path, index, turn))
    return dict(planes), named


def locate(path, header, frame):
    """`place_plane`, or InputError if that is damaged."""
    with reading():
        try:
            return place_plane(header, frame)
        except Exception as error:
            raise InputError(f"{path}: its place in space is damaged.") from error


def lay_on(seg, index, size, place, path):
    """How a frame of a SEG is turned to lie on its image; InputError if it lies on other pixels."""
    try:
        return find_turn(seg.size, seg.places[index], size, place)
    except ValueError as error:
        raise InputError(
            f"{seg.path}: its frame {index + 1} {error} the image that it names, {path}; export "
            "both on one grid."
        ) from error


def note_empty(listing, count, what):
    if count:
        listing.notes.append(
            f"{count} {what} have no frame in the SEG that lists their image: read as empty masks."
        )
