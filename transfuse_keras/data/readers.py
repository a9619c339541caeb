"""Image files as arrays."""

import cv2
import numpy as np

from transfuse_keras.errors import InputError


def read_image(path):
    """Read a PNG, JPEG, TIFF or BMP image.

    Returns: uint8 (H, W, 3), RGB; a grayscale image has three equal channels.

    Raises: InputError if the file cannot be decoded.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise InputError(f"{path}: not a readable image; replace it or take it out of the folder.")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_label_map(path, classes):
    """Read an integer label map as one mask per class.

    Args:
        path: single-channel image; 0 is background, label k is class k - 1.
        classes: names of the classes.

    Returns: uint8 (H, W, M) of 0/1.

    Raises: InputError if the file cannot be decoded or holds another label.
    """
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if labels is None:
        raise InputError(f"{path}: not a readable mask; replace it or take out its image too.")
    if labels.ndim != 2:
        raise InputError(
            f"{path}: a label map has one channel, this has {labels.shape[2]}; "
            f"save it as a grayscale image of the labels 0 to {len(classes)}."
        )
    if labels.max() > len(classes):
        names = ", ".join(f"{k} {name}" for k, name in enumerate(classes, 1))
        raise InputError(
            f"{path}: holds the label {labels.max()}, but the labels are 0 background, {names}; "
            "relabel it."
        )
    return (labels[..., None] == np.arange(1, len(classes) + 1)).astype("uint8")


def read_pair(image_path, mask_path, classes):
    """Read an image and its label map; InputError if their sizes differ."""
    image, masks = read_image(image_path), read_label_map(mask_path, classes)
    if image.shape[:2] != masks.shape[:2]:
        (height, width), (mask_height, mask_width) = image.shape[:2], masks.shape[:2]
        raise InputError(
            f"{mask_path}: is {mask_width}x{mask_height} pixels, but its image {image_path} is "
            f"{width}x{height}; export both at one size."
        )
    return image, masks
