"""Resizing of images, masks and probability maps with OpenCV: one rule for all of the package."""

import cv2
import numpy as np

IGNORED = 255  # in masks of 0/1: a pixel that the task leaves out, in every class


def resize_image(image, size):
    """Resize (H, W, C) to `size` = (height, width): by area when it shrinks, else bilinear.

    Returns: array (*size, C) of the same dtype.
    """
    if image.shape[:2] == tuple(size):
        return image
    shrinks = image.shape[0] >= size[0] and image.shape[1] >= size[1]
    return resize_channels(image, size, cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def resize_channels(image, size, how):
    """As cv2.resize, of any number of channels: by area OpenCV takes no more than four."""
    parts = [image[..., i : i + 4] for i in range(0, image.shape[2], 4)]
    resized = [cv2.resize(part, size[::-1], interpolation=how) for part in parts]
    # OpenCV drops a single channel
    return np.concatenate([part.reshape(*size, -1) for part in resized], axis=-1)


def resize_masks(masks, size):
    """Resize 0/1 masks (H, W, M) to `size`: 1 where at least half of the new pixel is covered.

    A pixel of which at least half is IGNORED is so too; else the rest of it decides.

    Returns: uint8 array (*size, M) of 0/1 and IGNORED.
    """
    masks = np.asarray(masks)
    ignored = masks == IGNORED
    if not ignored.any():
        return binary(resize_image(masks.astype("float32"), size))
    covered, left_out = (
        resize_image(part.astype("float32"), size) for part in (masks == 1, ignored)
    )
    resized = (covered >= (1 - left_out) / 2).astype("uint8")
    resized[left_out >= 0.5] = IGNORED
    return resized


def binary(coverage):
    """Shares of covered pixels as 0/1: 1 from one half on."""
    return (coverage >= 0.5).astype("uint8")


def scaled_size(shape, spacing, field, size):
    """(height, width) of a slice resampled so that `size` pixels show `field` mm.

    Args:
        shape: (height, width) of the slice in pixels.
        spacing: (row, column) mm per pixel of the slice.
        field: (height, width) in mm.
        size: (height, width) in pixels.
    """
    return tuple(
        max(1, round(n * mm * pixels / extent))
        for n, mm, extent, pixels in zip(shape, spacing, field, size, strict=True)
    )


def center(image, size):
    """Crop (H, W, C) about its centre, or pad it with zeros, to `size` = (height, width)."""
    for axis, wanted in enumerate(size):
        extra = image.shape[axis] - wanted
        # the longer side comes first both ways, so that padding undoes cropping and vice versa
        first = (abs(extra) + 1) // 2
        if extra > 0:
            image = image.take(range(first, first + wanted), axis)
        elif extra < 0:
            widths = [(0, 0)] * image.ndim
            widths[axis] = (first, -extra - first)
            image = np.pad(image, widths)
    return image


def crop_field(image, spacing, field, size):
    """A slice (H, W, C) resampled in plane to show `field` mm on `size` pixels, float32."""
    scaled = scaled_size(image.shape[:2], spacing, field, size)
    return center(resize_image(np.asarray(image, "float32"), scaled), size)


def crop_masks(masks, spacing, field, size):
    """The masks (H, W, M) of a slice on the grid of `crop_field`; background outside."""
    return center(resize_masks(masks, scaled_size(masks.shape[:2], spacing, field, size)), size)


def uncrop_field(maps, shape, spacing, field):
    """Put maps (h, w, M) of a fitted slice back on its own grid: (*shape, M), 0 outside."""
    scaled = scaled_size(shape, spacing, field, maps.shape[:2])
    return resize_image(center(maps, scaled), tuple(shape))
