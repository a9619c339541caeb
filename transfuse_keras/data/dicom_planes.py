"""Where a DICOM frame lies in space, and how one is turned to lie on the pixels of another."""

import itertools

import numpy as np
from nibabel.orientations import inv_ornt_aff, io_orientation

from transfuse_keras.data.dicom import frame_attributes
from transfuse_keras.data.orientation import TOLERANCE

AS_IT_IS = ((0, 1), (1, 1))


def place_plane(header, frame=0):
    """Where a frame lies, float64 (3, 3): (row, column, 1) of a pixel to mm, LPS; None if its file
    does not tell."""
    own = frame_attributes(header, frame)
    names = "ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing"
    turn, position, spacing = (own.get(name) or header.get(name) for name in names)
    if not (turn and position and spacing):
        return None
    along_row, along_column = np.reshape(np.array(turn, "float64"), (2, 3))
    row, column = map(float, spacing)
    return np.stack([along_column * row, along_row * column, np.array(position, "float64")], 1)


def find_turn(size, place, other_size, other_place):
    """How a frame is flipped or transposed to lie on the pixels of another.

    Args:
        size, other_size: (H, W).
        place, other_place: as of `place_plane`; where one is None the frame is as the other is.

    Returns: what nibabel's `apply_orientation` takes of (H, W), as tuples.

    Raises: ValueError if it lies on other pixels, by more than TOLERANCE of one. How far one plane
    lies behind the other does not matter: which belong together is told by references.
    """
    turn, to_other = np.array(AS_IT_IS), np.eye(3)
    if place is not None and other_place is not None:
        moved = place - other_place * [0, 0, 1]
        to_other[:2] = np.linalg.pinv(other_place[:, :2]) @ moved
        turn = io_orientation(to_other)
        if np.isnan(turn).any():
            raise ValueError("lies across the plane of")
        to_other = to_other @ inv_ornt_aff(turn, size)
    if tuple(np.array(size)[np.argsort(turn[:, 0])]) != tuple(other_size):
        raise ValueError(f"has {size[1]}x{size[0]} pixels, other than those of")
    ends = np.array([(*end, 1) for end in itertools.product(*((0, n - 1) for n in other_size))])
    if np.abs(ends @ to_other.T - ends).max() > TOLERANCE:
        raise ValueError("lies on other pixels than")
    return tuple((int(axis), int(flip)) for axis, flip in turn)
