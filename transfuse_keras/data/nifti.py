"""NIfTI volumes (nibabel): slices in, masks out on the volume's own grid."""

import math
import warnings

import nibabel
import numpy as np

from transfuse_keras.data.masks import check_labels, snap
from transfuse_keras.errors import InputError
from transfuse_keras.files import replacing

SUFFIXES = (".nii", ".nii.gz")
LARGEST = 2**29  # voxels of all channels, more than 512 x 512 x 2000: 2 GiB as float32


def is_nifti(path):
    return path.name.lower().endswith(SUFFIXES)


# what nibabel says of a damaged header comes in the one sentence of ours, or does not matter
nibabel.imageglobals.logger.setLevel("CRITICAL")
warnings.filterwarnings("ignore", module="nibabel")


def open_nifti(path):
    """A NIfTI file as a nibabel image, nothing decoded; InputError if it is none."""
    try:
        volume = nibabel.load(path)
        if len(volume.shape) not in (3, 4) or not all(volume.shape):
            raise ValueError(f"its shape is {volume.shape}")
        if math.prod(volume.shape) > LARGEST:
            raise ValueError(f"it claims {' x '.join(map(str, volume.shape))} voxels")
        kind = volume.get_data_dtype()
        if kind.kind not in "biuf" or kind.itemsize > 8:
            raise ValueError(f"its values are {kind}")
        return volume
    except Exception as error:
        raise unreadable(path, error) from error


def unreadable(path, error):
    reason = str(error).strip().partition("\n")[0].replace(str(path), "") or type(error).__name__
    return InputError(f"{path}: not a readable NIfTI volume ({reason}); replace or remove it.")


def decode(path):
    """All values of a NIfTI file as float32."""
    volume = open_nifti(path)
    try:
        return np.asarray(volume.dataobj, "float32")
    except Exception as error:
        raise unreadable(path, error) from error


def slice_axis(volume):
    """The axis with the largest spacing, the last of equals: slices are perpendicular to it."""
    spacing = np.round(volume.header.get_zooms()[:3], 3)
    return int(max(range(3), key=lambda axis: (spacing[axis], axis)))


def grid(volume):
    """Number of slices and spacing (slice, row, column) in mm of a volume as `to_slices` lays it.

    Raises: ValueError if the spacing is not positive.
    """
    axis = slice_axis(volume)
    row, column = sorted({0, 1, 2} - {axis}, reverse=True)
    spacing = tuple(float(volume.header.get_zooms()[i]) for i in (axis, row, column))
    if not all(0 < mm < 100 for mm in spacing):
        raise ValueError(f"its spacing is {spacing} mm")
    return volume.shape[axis], spacing


def to_slices(values, axis):
    """Values (X, Y, Z) or (X, Y, Z, C) as slices (D, H, W) or (D, H, W, C).

    Rows of a slice run along the later of its two axes, so an axial slice has y down and x across.
    """
    first, second = sorted({0, 1, 2} - {axis})
    return np.moveaxis(values, (axis, second, first), (0, 1, 2))


def from_slices(values, axis):
    """The inverse of `to_slices`."""
    first, second = sorted({0, 1, 2} - {axis})
    return np.moveaxis(values, (0, 1, 2), (axis, second, first))


def read_volume(image_path, mask_path, classes, channels, labels):
    """Read a volume and its label map.

    Args:
        image_path: 3-D, or 4-D with one modality (channel) behind the other.
        mask_path: label map on the same grid, or None for no masks.
        classes: names of the M classes.
        channels: wanted number of channels C.
        labels: label value of each class.

    Returns: float32 (D, H, W, C), every channel z-scored over the volume, and masks uint8
    (D, H, W, M) of 0/1, or None.

    Raises: InputError if a file cannot be decoded, holds another label or other shapes.
    """
    axis = slice_axis(open_nifti(image_path))
    values = decode(image_path)
    values = values[..., None] if values.ndim == 3 else values
    if values.shape[3] != channels:
        raise InputError(f"{image_path}: has {values.shape[3]} channels, the task {channels}.")
    if not np.isfinite(values).all():
        raise InputError(f"{image_path}: holds undefined values (nan or infinite).")
    spread = values.max(axis=(0, 1, 2)).astype("float64") - values.min(axis=(0, 1, 2))
    if spread.max() > np.finfo("float32").max:
        raise InputError(f"{image_path}: its values are too far apart; rescale it.")
    if not spread.all():
        raise InputError(f"{image_path}: channel {int(spread.argmin())} has one value everywhere.")
    # in place, and without a float64 copy, which would be several times the volume
    values -= values.mean(axis=(0, 1, 2), dtype="float64")
    squares = np.einsum("xyzc,xyzc->c", values, values, dtype="float64")
    values /= np.sqrt(squares / math.prod(values.shape[:3]))
    image = to_slices(values, axis)
    if mask_path is None:
        return image, None
    found = snap(decode(mask_path), mask_path)
    if found.shape != values.shape[:3]:
        raise InputError(
            f"{mask_path}: is {found.shape} voxels, but its image {image_path} is "
            f"{values.shape[:3]}; export both on one grid."
        )
    wrong = found[~np.isin(found, (0, *labels))]
    if wrong.size:
        check_labels(wrong.min(keepdims=True), classes, mask_path)
        raise InputError(
            f"{mask_path}: holds the label {wrong.min():g}, not listed in dataset.json."
        )
    masks = np.stack([found == label for label in labels], axis=-1).astype("uint8")
    return image, to_slices(masks, axis)


def read_slices(path, channels):
    """Read a volume without masks.

    Returns: slices float32 (D, H, W, C) as `read_volume` gives them, and their spacing (slice,
    row, column) in mm.

    Raises: InputError as `read_volume`, or if the spacing is not positive.
    """
    slices, _ = read_volume(path, None, (), channels, ())
    try:
        _, spacing = grid(open_nifti(path))
    except ValueError as error:
        raise InputError(f"{path}: {error}; correct its header.") from error
    return slices, spacing


def save_masks(image_path, labels, exclusive, path, masks):
    """Write masks on the grid of the volume they were predicted for.

    Args:
        image_path: the NIfTI file of the image: its grid and affine are kept.
        labels: label value of each class.
        exclusive: write one label map (X, Y, Z), else the masks as (X, Y, Z, M).
        path: the NIfTI file to write.
        masks: 0/1 (D, H, W, M).
    """
    volume = open_nifti(image_path)
    values = from_slices(np.asarray(masks, "uint8"), slice_axis(volume))
    if exclusive:
        values = (values * np.asarray(labels)).max(axis=-1).astype("uint8")
    with replacing(path) as temporary:
        nibabel.save(nibabel.Nifti1Image(values, volume.affine), temporary)
