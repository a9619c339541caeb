"""Resizing of images, masks and probability maps with OpenCV: one rule for all of the package."""

import cv2
import numpy as np


def resize_image(image, size):
    """Resize (H, W, C) to `size` = (height, width): by area when it shrinks, else bilinear.

    Returns: array (*size, C) of the same dtype.
    """
    if image.shape[:2] == tuple(size):
        return image
    shrinks = image.shape[0] >= size[0] and image.shape[1] >= size[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(image, size[::-1], interpolation=how)
    return resized.reshape(*size, image.shape[2])  # OpenCV drops a single channel


def resize_masks(masks, size):
    """Resize 0/1 masks (H, W, M) to `size`: 1 where at least half of the new pixel is covered.

    Returns: uint8 array (*size, M) of 0/1.
    """
    return (resize_image(np.asarray(masks, "float32"), size) >= 0.5).astype("uint8")
