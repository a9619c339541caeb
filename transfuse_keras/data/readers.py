"""Image files as 8-bit pixels, and an image with its masks."""

from pathlib import Path

import numpy as np
from PIL import Image

from transfuse_keras.data.decode import decode_deep_colours, decode_picture, is_grey_and_deep
from transfuse_keras.data.kinds import is_dicom
from transfuse_keras.data.masks import read_masks
from transfuse_keras.data.quiet import reading
from transfuse_keras.errors import InputError

CHUNK = 2**20  # pixels that are converted at a time
WHITES = tuple(2**bits - 1 for bits in (8, 10, 12, 14, 16))  # white of images of so many bits


def read_image(
    path: Path,
    channels: int = 3,
    value_range: tuple[float, float] | None = None,
    dicom_range: tuple[float, float] | None = None,
) -> np.ndarray:
    """Read a PNG, JPEG, TIFF, BMP or DICOM image.

    EXIF rotation is carried out, transparency dropped.

    Args:
        path: Path.
        channels: 1 or 3.
        value_range: (black, white) of images of more than 8 bits; see `to_8_bits`.
        dicom_range: the same of grey DICOM images without a window; see `read_dicom`.

    Returns: uint8 (H, W, channels); RGB, or grayscale in equal channels.

    Raises: InputError if the file cannot be decoded as a whole.
    """
    if is_dicom(path):
        from transfuse_keras.data.dicom import read_dicom

        return with_channels(read_dicom(path, value_range=dicom_range), channels)
    return picture_pixels(decode_picture(path, "image"), channels, value_range, path)


def picture_pixels(picture, channels, value_range=None, path="image"):
    """The pixels of a Pillow image, upright; arguments and result as of `read_image`."""
    if is_grey_and_deep(picture):
        pixels = to_8_bits(np.asarray(picture), path, value_range)[..., None]
        pixels = 255 - pixels if picture.info.get("negative") else pixels
    elif picture.info.get("deep"):
        pixels = to_8_bits(decode_deep_colours(path), path, value_range)
        pixels = pixels[..., :1] if picture.mode == "LA" else pixels
    else:
        mode = "L" if picture.mode in ("1", "L", "LA") else "RGB"
        with reading():  # Pillow would rather keep the transparency of a palette
            pixels = np.atleast_3d(np.asarray(picture.convert(mode)))
    return with_channels(pixels, channels)


def with_channels(pixels, channels):
    """Pixels (H, W, 1) or (H, W, 3) as (H, W, channels)."""
    if channels == 1 and pixels.shape[2] == 3:
        return np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    return np.repeat(pixels, channels, axis=2) if pixels.shape[2] == 1 < channels else pixels


def to_8_bits(values, path, value_range=None):
    """Values of more than 8 bits as uint8 of the same shape.

    Args:
        values: array.
        path: of the file, for messages.
        value_range: (black, white), beyond which values are clipped. None is the range of the
            smallest of 8, 10, 12, 14 and 16 bits that holds the largest value, for floating-point
            values up to 1 the range from 0 to 1.

    Raises: InputError if a value is undefined, or without `value_range` negative.
    """
    if not np.isfinite(values).all():
        raise InputError(f"{path}: has undefined pixels (nan or infinite); replace them.")
    low, high = value_range or (0, find_top(values, path))
    flat, pixels = values.ravel(), np.empty(values.size, "uint8")
    for start in range(0, values.size, CHUNK):
        part = slice(start, start + CHUNK)
        scaled = (flat[part].astype("float64") - low) * (255 / (high - low))
        pixels[part] = np.round(np.clip(scaled, 0, 255))
    return pixels.reshape(values.shape)


def find_top(values, path):
    """What white is in an image whose range is not known."""
    if values.min() < 0:
        raise InputError(
            f"{path}: has negative pixels, or unsigned ones of 32 bits; save it as 8 or 16 bits, "
            "or give value_range=(black, white) in a task file."
        )
    ranges = (1, *WHITES) if values.dtype.kind == "f" else WHITES
    return next((top for top in ranges if values.max() <= top), values.max())


def read_pair(image_path, mask_paths, classes, channels=3, ignore=None, **ranges):
    """Read an image and its masks, see `read_image` and `read_masks`.

    Raises: InputError if one of them cannot be read, or their sizes differ.
    """
    image = read_image(image_path, channels, **ranges)
    masks = read_masks(mask_paths, classes, ignore)
    if image.shape[:2] != masks.shape[:2]:
        (height, width), (mask_height, mask_width) = image.shape[:2], masks.shape[:2]
        raise InputError(
            f"{mask_paths[0]}: is {mask_width}x{mask_height} pixels, but its image {image_path} is "
            f"{width}x{height}; export both at one size."
        )
    return image, masks
