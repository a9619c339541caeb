"""The frames of a SEG of one file, where highdicom does not lay them out.

It writes several frames where each has a place of its own in space. A cine has none, and the phases
of a heart have one place together. Of these it writes the first frame, and the others are added. It
wants functional groups, too, of a single frame of a kind that may have several, as of a fundus.
"""

from copy import deepcopy

import numpy as np
import pydicom
from pydicom.pixels import pack_bits
from pydicom.uid import UltrasoundImageStorage
from pydicom.valuerep import DSfloat

from transfuse_keras.data.dicom import frame_attributes
from transfuse_keras.data.dicom_planes import place_plane

PLACE = ("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient")
GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


def find_positions(header, count):
    """ImagePositionPatient of each of the frames of a file, as tuples; None unless all have one,
    and lie turned alike."""
    places = [place_plane(header, frame) for frame in range(count)]
    if any(x is None or not np.allclose(x[:, :2], places[0][:, :2]) for x in places):
        return None
    offsets = header.get("GridFrameOffsetVector")  # of a dose, along the normal of the first frame
    if offsets:
        if len(offsets) != count:
            raise ValueError("its GridFrameOffsetVector is damaged")
        normal = np.cross(places[0][:, 1], places[0][:, 0])
        steps = np.outer(np.subtract(offsets, offsets[0]), normal / np.linalg.norm(normal))
        return [tuple(places[0][:, 2] + step) for step in steps.astype("float64")]
    return [tuple(place[:, 2]) for place in places]


def is_stack(header, positions):
    """Whether highdicom lays the frames out: each has functional groups and a place of its own."""
    return GROUPS[1] in header and positions is not None and len({*positions}) == len(positions)


def keep_first_frame(header, positions):
    """Make a header that of its first frame alone, as of an ultrasound image: such may have a place
    in space, or none."""
    header.update(frame_attributes(header, 0))
    for name in (*GROUPS, *(PLACE if positions is None else ())):
        header.pop(name, None)
    header.NumberOfFrames, header.SOPClassUID = 1, UltrasoundImageStorage


def add_frames(made, values, kind, positions):
    """Give a Segmentation of the first frame of a file all its frames.

    Args:
        made: highdicom Segmentation; changed.
        values: (F, H, W, M).
        kind: one of SEG_KINDS.
        positions: as of `find_positions`.
    """
    of_segments = list(made.PerFrameFunctionalGroupsSequence)
    ranks = sorted({*positions}) if positions else ()
    groups = []
    for number in range(1, len(values) + 1):
        for item in deepcopy(of_segments):
            (derivation,), (content,) = item.DerivationImageSequence, item.FrameContentSequence
            derivation.SourceImageSequence[0].ReferencedFrameNumber = number
            content.TemporalPositionIndex = number
            segment = np.atleast_1d(content.DimensionIndexValues).tolist()[0]
            rank = []
            if positions:
                position = positions[number - 1]
                rank = [ranks.index(position) + 1]
                item.PlanePositionSequence[0].ImagePositionPatient = [
                    DSfloat(x, auto_format=True) for x in position
                ]
            content.DimensionIndexValues = [segment, *rank, number]
            groups.append(item)
    dimension = pydicom.Dataset()
    dimension.DimensionIndexPointer = pydicom.tag.Tag("TemporalPositionIndex")
    dimension.FunctionalGroupPointer = pydicom.tag.Tag("FrameContentSequence")
    dimension.DimensionOrganizationUID = made.DimensionIndexSequence[0].DimensionOrganizationUID
    made.DimensionIndexSequence.append(dimension)
    made.PerFrameFunctionalGroupsSequence = groups
    made.NumberOfFrames = len(groups)
    planes = np.ascontiguousarray(np.moveaxis(values, -1, 1))
    made.PixelData = pack_bits(planes.ravel()) if kind == "binary" else planes.tobytes()
