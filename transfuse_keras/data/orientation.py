"""How a volume lies in space, and its slices in the orientation in which the network sees them.

Axes run to the patient's right, anterior and superior (RAS), whatever the order in the file is: the
closest of the 48 ways to turn and mirror the array, no resampling. Slices are perpendicular to the
axis with the largest spacing; in an axial slice x runs to the right and y, downwards, to anterior.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from nibabel.nifti1 import Nifti1Header
from nibabel.orientations import (
    apply_orientation,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # axes of DICOM and ITK run to left and posterior
RAS = np.array([[0, 1], [1, 1], [2, 1]])
TOLERANCE = 0.1  # of a voxel: grids that lie closer are one, as headers are rounded
STRAIGHT = 0.01  # the largest cosine between two axes that counts as that of a right angle


@dataclass(frozen=True)
class Volume:
    """A volume of which only the header has been read.

    Attributes:
        path: for messages.
        shape: (X, Y, Z, C) as stored.
        affine: (4, 4), from stored voxels to mm, RAS.
        placed: whether the header says how the volume lies.
        read: function without arguments -> float32 (X, Y, Z, C).
        header: of a NIfTI file, for masks on its grid; None for other formats.
        doubt: what the header leaves open, and how it is taken, in words; else empty.
    """

    path: Path
    shape: tuple[int, ...]
    affine: np.ndarray
    placed: bool
    read: Callable
    header: Nifti1Header | None = None
    doubt: str = ""


def find_ras_turn(affine):
    """How the axes of an array become RAS, as nibabel's orientations tell it; ValueError if the
    affine is no placement in space."""
    turn = io_orientation(affine) if np.isfinite(affine).all() else np.full((3, 2), np.nan)
    if np.isnan(turn).any():
        raise ValueError("its header does not place it in space")
    return turn


def in_ras(sizes, affine):
    """Numbers of the three stored axes in the order of the RAS axes."""
    return np.asarray(sizes)[np.argsort(find_ras_turn(affine)[:, 0])]


def slice_axes(affine):
    """The RAS axes of slice, row and column: slices lie across the axis with the largest spacing,
    the last of equals; rows follow one another along the later of the other two."""
    spacing = np.round(in_ras(voxel_sizes(affine), affine), 3)
    axis = max(range(3), key=lambda axis: (spacing[axis], axis))
    return (axis, *sorted({0, 1, 2} - {axis}, reverse=True))


def is_sheared(affine):
    """Whether two axes of an affine do not meet at a right angle, as of a tilted gantry."""
    axes = affine[:3, :3] / voxel_sizes(affine)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > STRAIGHT)


def describe_slices(shape, affine):
    """Number of slices and spacing (slice, row, column) in mm of a volume as `to_slices` lays it.

    Raises: ValueError if the spacing is not positive.
    """
    axes = list(slice_axes(affine))
    spacing = tuple(float(mm) for mm in in_ras(voxel_sizes(affine), affine)[axes])
    if not all(0 < mm < 100 for mm in spacing):
        raise ValueError(f"its spacing is {spacing} mm")
    return int(in_ras(shape, affine)[axes[0]]), spacing


def to_slices(values, affine):
    """Values (X, Y, Z) or (X, Y, Z, C), as stored, as slices (D, H, W) or (D, H, W, C)."""
    turned = apply_orientation(values, find_ras_turn(affine))
    return np.moveaxis(turned, slice_axes(affine), (0, 1, 2))


def from_slices(values, affine):
    """The inverse of `to_slices`."""
    turned = np.moveaxis(values, (0, 1, 2), slice_axes(affine))
    return apply_orientation(turned, ornt_transform(RAS, find_ras_turn(affine)))


def corners(shape, affine):
    """The middles (8, 3) of the outermost voxels in mm, in RAS order whatever the array's is."""
    turned = affine @ inv_ornt_aff(find_ras_turn(affine), tuple(shape))
    return apply_affine(
        turned, list(itertools.product(*((0, n - 1) for n in in_ras(shape, affine))))
    )


def compare_grids(shape, affine, other_shape, other_affine):
    """None if two volumes have the same voxels in space, though perhaps in another order; else
    what is wrong with the second, as the middle of a sentence that names both."""
    first, second = corners(shape, affine), corners(other_shape, other_affine)
    if (first.max(0) < second.min(0)).any() or (second.max(0) < first.min(0)).any():
        return "does not overlap in space with"
    same = (in_ras(shape, affine) == in_ras(other_shape, other_affine)).all()
    if same and np.abs(first - second).max() <= TOLERANCE * min(voxel_sizes(affine)):
        return None
    return "lies on another grid than"
