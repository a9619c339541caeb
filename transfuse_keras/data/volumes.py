"""Volumes of any format: slices in, masks out on the volume's own grid.

A source is where a volume is read from: the path of a file, of a folder with the DICOM slices of
one series, or a tuple of the paths of such slices. A case has one source, or one for each channel.
"""

import math

import numpy as np

from transfuse_keras.data import dicom_series, itk, kinds, nifti
from transfuse_keras.data.mask_values import snap
from transfuse_keras.data.masks import check_labels
from transfuse_keras.data.orientation import (
    compare_grids,
    describe_slices,
    from_slices,
    is_sheared,
    to_slices,
)
from transfuse_keras.data.quiet import reading
from transfuse_keras.data.resize import IGNORED
from transfuse_keras.errors import InputError, quantity

LARGEST_VOLUME = 2**29  # voxels of all channels, more than 512 x 512 x 2000: 2 GiB as float32
SHEARED = (
    "its axes do not meet at right angles (a tilted gantry?): sizes and distances are taken as if "
    "they did"
)
ITK_ERROR = "sitk::ERROR: "  # in the last line of a message


def open_volume(source):
    """A Volume with nothing but its header read; InputError if it is none."""
    if isinstance(source, tuple) or source.is_dir():
        volume = dicom_series.open_series(source)
    else:
        kind = itk if source.name.lower().endswith(kinds.ITK) else nifti
        with reading():
            try:
                volume = kind.open_volume(source)
                describe_slices(volume.shape[:3], volume.affine)
            except InputError:
                raise
            except Exception as error:
                raise unreadable(source, error) from error
    if math.prod(volume.shape) > LARGEST_VOLUME:
        claimed = " x ".join(map(str, volume.shape[: 3 + (volume.shape[3] > 1)]))
        raise unreadable(volume.path, ValueError(f"it claims {claimed} voxels"))
    return volume


def unreadable(path, error):
    lines = str(error).replace(str(path), "").strip().splitlines() or [type(error).__name__]
    told = [line.removeprefix(ITK_ERROR) for line in lines if line.startswith(ITK_ERROR)]
    reason = (told or lines)[0]
    return InputError(f"{path}: not a readable volume ({reason}); correct or remove it.")


def read_voxels(volume):
    """All values of a Volume, float32 (X, Y, Z, C) as stored; InputError if it is damaged."""
    with reading():
        try:
            return volume.read()
        except InputError:
            raise
        except Exception as error:
            raise unreadable(volume.path, error) from error


def open_channels(sources):
    """The Volumes that together have the channels of a case.

    Raises: InputError if one is none, or if they lie on several grids.
    """
    volumes = [open_volume(source) for source in sources]
    for volume in volumes[1:]:
        refuse_other_grid(volumes[0], volume)
    return volumes


def refuse_other_grid(image, other):
    """Raise InputError unless two Volumes share their voxels in space, in whatever order."""
    if image.placed != other.placed:
        placed, unplaced = (image, other) if image.placed else (other, image)
        raise InputError(
            f"{unplaced.path}: does not say how it lies in space, but {placed.path} does; give "
            "both one header."
        )
    difference = compare_grids(image.shape[:3], image.affine, other.shape[:3], other.affine)
    if difference:
        sizes = [" x ".join(map(str, volume.shape[:3])) for volume in (other, image)]
        raise InputError(
            f"{other.path}: {difference} {image.path} ({sizes[0]} and {sizes[1]} voxels); export "
            "both on one grid."
        )


def describe(sources):
    """Of a case, by its headers: number of slices, spacing (slice, row, column) in mm, and what
    the first leaves open of how it lies in space, in words, or "".

    Raises: InputError as `open_channels`.
    """
    volume = open_channels(sources)[0]
    doubts = [volume.doubt] * bool(volume.doubt) + [SHEARED] * is_sheared(volume.affine)
    return *describe_slices(volume.shape[:3], volume.affine), "; ".join(doubts)


def tell_doubts(doubts):
    """A sentence on each doubt of `describe`: a dict of doubts, "" among them, to lists of Path."""
    return [
        f"{first}: {doubt}."
        + (f" The same holds for {quantity(len(others), 'other')}." * bool(others))
        for doubt, (first, *others) in doubts.items()
        if doubt
    ]


def read_volume(sources, mask_source, classes, channels, labels, ignore=None):
    """Read a case and its label map.

    Args:
        sources: list of one source, 3-D or 4-D with one channel behind the other, or one for each
            channel.
        mask_source: label map on the same grid, in any orientation, or None for no masks.
        classes: names of the M classes.
        channels: wanted number of channels C.
        labels: label value of each class.
        ignore: value of the voxels that are left out, or None.

    Returns: float32 (D, H, W, C) in the orientation of `orientation`, every channel z-scored over
    the volume, and masks uint8 (D, H, W, M) of 0/1, and of IGNORED where a voxel is left out; or
    None.

    Raises: InputError if a file cannot be decoded, holds another label or lies on another grid.
    """
    volumes = open_channels(sources)
    first = volumes[0]
    count = sum(volume.shape[3] for volume in volumes)
    if count != channels:
        raise InputError(f"{first.path}: has {quantity(count, 'channel')}, the task {channels}.")
    parts = [to_slices(read_voxels(volume), volume.affine) for volume in volumes]
    image = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
    z_score(image, first.path)
    if mask_source is None:
        return image, None
    label_map = open_volume(mask_source)
    refuse_other_grid(first, label_map)
    if label_map.shape[3] != 1:
        raise InputError(f"{label_map.path}: has {label_map.shape[3]} channels, a label map one.")
    found = snap(to_slices(read_voxels(label_map)[..., 0], label_map.affine), label_map.path)
    left_out = np.zeros(found.shape, bool) if ignore is None else found == ignore
    wrong = found[~np.isin(found, (0, *labels)) & ~left_out]
    if wrong.size:
        check_labels(wrong.min(keepdims=True), classes, label_map.path)
        raise InputError(
            f"{label_map.path}: holds the label {wrong.min():g}, not listed in dataset.json."
        )
    masks = np.stack([found == label for label in labels], axis=-1).astype("uint8")
    masks[left_out] = IGNORED
    return image, masks


def z_score(image, path):
    """Z-score every channel of float32 (D, H, W, C) in place; InputError if that cannot be."""
    if not np.isfinite(image).all():
        raise InputError(f"{path}: holds undefined values (nan or infinite).")
    spread = image.max(axis=(0, 1, 2)).astype("float64") - image.min(axis=(0, 1, 2))
    if spread.max() > np.finfo("float32").max:
        raise InputError(f"{path}: its values are too far apart; rescale it.")
    if not spread.all():
        raise InputError(f"{path}: channel {int(spread.argmin())} has one value everywhere.")
    # in place, and without a float64 copy, which would be several times the volume
    image -= image.mean(axis=(0, 1, 2), dtype="float64")
    squares = np.einsum("dhwc,dhwc->c", image, image, dtype="float64")
    image /= np.sqrt(squares / math.prod(image.shape[:3]))


def read_slices(sources, channels):
    """Read a case without masks.

    Returns: slices float32 (D, H, W, C) as `read_volume` gives them; their spacing (slice, row,
    column) in mm; and what the header leaves open, as of `describe`.

    Raises: InputError as `read_volume`.
    """
    slices, _ = read_volume(sources, None, (), channels, ())
    return slices, *describe(sources)[1:]


def save_masks(source, labels, exclusive, path, masks):
    """Write masks as NIfTI on the grid of the volume they were predicted for, as it is stored.

    Args:
        source: of the image, or of its first channel.
        labels: label value of each class.
        exclusive: write one label map (X, Y, Z), else the masks as (X, Y, Z, M).
        path: the file to write.
        masks: 0/1 (D, H, W, M).
    """
    volume = open_volume(source)
    values = from_slices(np.asarray(masks, "uint8"), volume.affine)
    if exclusive:
        kind = np.min_scalar_type(max(labels))
        values = (values * np.asarray(labels, kind)).max(axis=-1)
    nifti.save_values(values, volume, path)


def save_on_grid(source, path, values):
    """Write float32 values (D, H, W) as NIfTI on the grid of a volume; as `save_masks`."""
    volume = open_volume(source)
    own = from_slices(np.asarray(values, "float32")[..., None], volume.affine)
    nifti.save_values(own[..., 0], volume, path)
