"""DICOM SEG as masks: which segments are classes, and which frame is of which image.

Frames are matched with images by their references alone, never by place or order; how one is turned
against its image is told by the places of both.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from nibabel.orientations import apply_orientation

from transfuse_keras.data.dicom import decoding, open_dicom, read_dicom
from transfuse_keras.data.dicom_decoder import add_decoder
from transfuse_keras.data.dicom_pixels import decode_frame, name_fault
from transfuse_keras.data.dicom_planes import place_plane
from transfuse_keras.data.dicom_series import sort_slices
from transfuse_keras.data.orientation import to_slices
from transfuse_keras.data.quiet import reading
from transfuse_keras.data.readers import with_channels
from transfuse_keras.data.volumes import read_volume
from transfuse_keras.errors import InputError


@dataclass(frozen=True)
class Segmentation:
    """What a DICOM SEG file holds.

    Attributes:
        path: Path.
        size: (height, width) of its frames.
        classes: segment number -> index of the class; segments that are no class are not there.
        left_out: labels of the segments that are no class.
        images: SOPInstanceUIDs of the images that it is of.
        frames: (SOPInstanceUID, number of the image's frame from 1, or None) -> index of a class ->
            list of indices of the frames.
        places: where each frame lies, as of `place_plane`.
    """

    path: Path
    size: tuple[int, int]
    classes: dict
    left_out: tuple
    images: frozenset
    frames: dict
    places: tuple


def open_segmentation(path, task):
    """The Segmentation of a file, with only its header read.

    Args:
        path: Path.
        task: Task, whose classes are found by the label or the coded term of a segment.

    Raises: InputError if it is no binary or fractional SEG, or a frame does not name one image.
    """
    header = open_dicom(path)
    with reading():
        try:
            return list_frames(path, header, task)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"{path}: is a damaged DICOM SEG ({name_fault(error)}).") from error


def list_frames(path, header, task):
    kind = header.get("SegmentationType")
    if kind not in ("BINARY", "FRACTIONAL"):
        raise InputError(f"{path}: is a DICOM SEG of the type {kind}, not BINARY or FRACTIONAL.")
    classes = {x.SegmentNumber: find_class(x, task, path) for x in header.SegmentSequence}
    left_out = tuple(
        str(x.SegmentLabel) for x in header.SegmentSequence if classes[x.SegmentNumber] is None
    )
    (shared,) = header.get("SharedFunctionalGroupsSequence") or (pydicom.Dataset(),)
    frames, images = defaultdict(lambda: defaultdict(list)), set()
    for series in header.get("ReferencedSeriesSequence") or ():
        images |= {x.ReferencedSOPInstanceUID for x in series.ReferencedInstanceSequence}
    for index, group in enumerate(header.PerFrameFunctionalGroupsSequence):
        derived, named = (
            group.get(name) or shared.get(name) or ()
            for name in ("DerivationImageSequence", "SegmentIdentificationSequence")
        )
        sources = [source for item in derived for source in item.get("SourceImageSequence") or ()]
        numbers = np.atleast_1d(sources[0].get("ReferencedFrameNumber")) if sources else ()
        if len(sources) != 1 or len(numbers) != 1:
            raise InputError(
                f"{path}: its frame {index + 1} does not name one image that it is of; export the "
                "SEG on the pixels of the images, with references to them."
            )
        uid, (number,) = str(sources[0].ReferencedSOPInstanceUID), numbers
        images.add(uid)
        found = classes[named[0].ReferencedSegmentNumber]
        of_image = frames[uid, None if number is None else int(number)]
        if found is not None:
            of_image[found].append(index)
    classes = {number: k for number, k in classes.items() if k is not None}
    size = header.Rows, header.Columns
    places = tuple(
        place_plane(header, i) for i in range(len(header.PerFrameFunctionalGroupsSequence))
    )
    return Segmentation(path, size, classes, left_out, frozenset(images), dict(frames), places)


def find_class(segment, task, path):
    """The index of the class that a segment is, None if it is none.

    By its label, in which case, spaces, - and _ do not matter; else by its coded term, with the
    modifier if the task gives one.
    """
    label = normalize_label(segment.SegmentLabel)
    for i, name in enumerate(task.classes):
        if normalize_label(name) == label:
            return i
    (kind,) = segment.SegmentedPropertyTypeCodeSequence
    modifiers = kind.get("SegmentedPropertyTypeModifierCodeSequence") or ()
    terms = {code_of(kind), *map(code_of, modifiers)}
    wanted = [task.coded_terms(name) for name in task.classes]
    found = [i for i, x in enumerate(wanted) if x and {t[:2] for t in (x[0], *x[2:])} <= terms]
    if len(found) > 1:
        names = " and ".join(task.classes[i] for i in found)
        raise InputError(f"{path}: its segment {segment.SegmentLabel} may be {names}; rename it.")
    return found[0] if found else None


def normalize_label(name):
    return str(name).strip().lower().replace(" ", "_").replace("-", "_")


def code_of(item):
    return str(item.get("CodeValue") or item.get("LongCodeValue")), str(item.CodingSchemeDesignator)


def describe_segmentation(path):
    """How `read_frame` reads a SEG, in words."""
    if open_dicom(path).get("SegmentationType") == "BINARY":
        return "DICOM SEG of 0 and 1"
    return "DICOM SEG of fractions, cut at one half of the largest possible"


def read_frame(path, index):
    """A frame of a SEG as bool (H, W): where it is 1, or at least half of its largest possible
    fraction; InputError if it cannot be decoded."""
    header = open_dicom(path)
    add_decoder()
    with decoding(path):
        values = decode_frame(path, header, index)
    top = header.get("MaximumFractionalValue") if header.SegmentationType == "FRACTIONAL" else 1
    return values >= top / 2


def read_planes(planes, size, count):
    """The masks of one image, uint8 (H, W, M).

    Args:
        planes: index of a class -> list of (path of a SEG, index of a frame, how that is turned, as
            of `find_turn`), which are united.
        size: (H, W).
        count: M.
    """
    masks = np.zeros((*size, count), "uint8")
    for k, frames in planes.items():
        for path, index, turn in frames:
            masks[..., k] |= apply_orientation(read_frame(path, index), turn)
    return masks


def read_segmented_image(path, frame, planes, task, value_range=None, dicom_range=None):
    """A DICOM image, uint8 (H, W, C), and its masks, uint8 (H, W, M).

    Args:
        path, frame, dicom_range: as of `read_dicom`.
        planes: as of `read_planes`.
        task: Task.
        value_range: is for other kinds of files; every reader of images takes both ranges.
    """
    image = with_channels(read_dicom(path, frame, dicom_range), task.channels)
    return image, read_planes(planes, image.shape[:2], len(task.classes))


def read_segmented_series(paths, planes, task):
    """A series as `volumes.read_volume` gives it, with its masks.

    Args:
        paths: tuple of the files of its slices.
        planes: path -> what `read_planes` takes.
        task: Task.
    """
    image, _ = read_volume([paths], None, task.classes, task.channels, ())
    slices, affine = sort_slices(paths)
    size = slices[0][1].Rows, slices[0][1].Columns
    masks = [read_planes(planes.get(path, {}), size, len(task.classes)) for path, _ in slices]
    return image, np.ascontiguousarray(to_slices(np.stack(masks).transpose(2, 1, 0, 3), affine))
