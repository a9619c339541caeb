"""Arrays as the authors' preparation script makes them: data_train.npy beside mask_train.npy."""

from functools import partial

import numpy as np

from transfuse_keras.data.layouts.listing import Listing
from transfuse_keras.data.mask_values import threshold
from transfuse_keras.data.samples import SPLITS, Sample
from transfuse_keras.errors import InputError, first_line

LOOKED_FOR = "data_train.npy beside mask_train.npy"


def find(task, directory, spacing=None):
    """Listing of the arrays in `directory`, or None if there are none."""
    if not any((directory / f"data_{split}.npy").is_file() for split in SPLITS):
        return None
    listing = Listing()
    for split in SPLITS:
        path, mask_path = (directory / f"{kind}_{split}.npy" for kind in ("data", "mask"))
        if not path.is_file():
            continue
        images, masks = open_array(path), open_array(mask_path)
        check_arrays(images, masks, path, mask_path, task)
        digits = len(str(len(images)))
        for i in range(len(images)):
            name = f"{split}-{i:0{digits}}"
            read = partial(read_item, images, masks, i, mask_path, task.ignore)
            listing.samples.append(
                Sample(name, name, spacing, read, split=split, files=(path, mask_path))
            )
    return listing


def open_array(path):
    """An .npy file, mapped; InputError if it is missing or none."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: no such file; the array of images needs one of masks beside it."
        ) from error
    except Exception as error:
        raise InputError(f"{path}: not a readable .npy array ({first_line(error)}).") from error


def check_arrays(images, masks, path, mask_path, task):
    """Raise InputError unless the arrays are (N, H, W, C) uint8 and (N, H, W) or (N, H, W, M)."""
    count = len(task.classes)
    if images.ndim != 4 or images.shape[3] != task.channels or images.dtype != np.uint8:
        raise InputError(
            f"{path}: is {images.dtype} {images.shape}, not uint8 (N, H, W, {task.channels})."
        )
    shape = masks.shape if masks.ndim == 4 or count > 1 else (*masks.shape, 1)
    if shape != (*images.shape[:3], count):
        raise InputError(
            f"{mask_path}: is {masks.shape}, but {path.name} is {images.shape} and the "
            f"number of classes is {count}."
        )


def read_item(images, masks, index, path, ignore=None, value_range=None, dicom_range=None):
    """Image and masks number `index`; every reader of images takes both ranges."""
    mask = np.asarray(masks[index])
    mask = mask if mask.ndim == 3 else mask[..., None]
    where = path.with_name(f"{path.name}[{index}]")
    return np.array(images[index]), np.stack(
        [threshold(mask[..., i], where, ignore) for i in range(mask.shape[2])], axis=-1
    )
