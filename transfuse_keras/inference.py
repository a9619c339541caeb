"""From any image to its mask, and a picture of it."""

import cv2
import numpy as np

from transfuse_keras.data.pipeline import normalizer
from transfuse_keras.data.resize import fit, resize_image, unfit

SLICES_AT_ONCE = 8
TRUTH, PREDICTION = (0, 255, 0), (255, 0, 255)  # outlines: green and magenta; both: white


def predict(model, image):
    """Probability maps of one image of any size.

    Args:
        model: TransFuse.
        image: (H, W, C) with the channels of the model, uint8 0-255; for a model of a task on
            volumes float32, z-scored.

    Returns: float32 (H, W, M) in [0, 1], bilinearly resized to the image's own size.

    Raises: ValueError if the image has another number of channels.
    """
    _, height, width, channels = model.input_shape
    if image.ndim != 3 or image.shape[2] != channels:
        raise ValueError(f"The model takes (H, W, {channels}) images, not {image.shape}.")
    inputs = resize_image(image, (height, width))
    return resize_image(probabilities(model, inputs[None])[0], image.shape[:2])


def predict_volume(model, slices, spacing, field):
    """Probability maps of a volume, slice by slice, on its own grid.

    Args:
        model: TransFuse trained on a task with this `field`.
        slices: float32 (D, H, W, C), z-scored by channel.
        spacing: (slice, row, column) in mm.
        field: (height, width) in mm that the model sees.

    Returns: float32 (D, H, W, M) in [0, 1]; 0 outside the field.
    """
    size = model.input_shape[1:3]
    maps = []
    for start in range(0, len(slices), SLICES_AT_ONCE):
        part = slices[start : start + SLICES_AT_ONCE]
        fitted = np.stack([fit(image, spacing[1:], field, size) for image in part])
        for found in probabilities(model, fitted):
            maps.append(unfit(found, slices.shape[1:3], spacing[1:], field))
    return np.stack(maps)


def predict_sample(model, sample, image, task):
    """Probability maps of a sample whose image has been read, on its own grid."""
    if task.field is None:
        return predict(model, image)
    return predict_volume(model, image, sample.spacing, task.field)


def probabilities(model, images):
    """Probabilities (B, h, w, M) of images (B, h, w, C) of the model's size."""
    normalize = normalizer(model.normalization, images.dtype)
    inputs = np.stack([normalize(image) for image in images])
    logits = np.asarray(model.mask_model.predict_on_batch(inputs))
    return 1 / (1 + np.exp(-logits))


def to_masks(probabilities, threshold=0.5, exclusive=False):
    """Probabilities (..., M) as 0/1 masks of the same shape.

    A map is 1 where its probability reaches the threshold; with `exclusive`, only the most
    probable map of a pixel is.
    """
    masks = probabilities >= threshold
    if exclusive:
        best = probabilities.argmax(axis=-1)[..., None]
        masks &= best == np.arange(probabilities.shape[-1])
    return masks.astype("uint8")


def overlay(image, mask, truth=None):
    """Outlines on an image: prediction magenta, ground truth green, white where they coincide.

    Args:
        image: uint8 (H, W, 3) or (H, W, 1).
        mask: 0/1 (H, W, M) or (H, W), the prediction.
        truth: 0/1 of the same shape, or None.

    Returns: uint8 (H, W, 3), RGB.
    """
    picture = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image.copy()
    predicted = outline(mask)
    true = outline(truth) if truth is not None else np.zeros_like(predicted)
    picture[predicted] = PREDICTION
    picture[true] = TRUTH
    picture[predicted & true] = 255
    return picture


def outline(mask):
    """Pixels of a mask (H, W) or masks (H, W, M) next to their border, as bool (H, W)."""
    mask = np.ascontiguousarray(mask, "uint8").reshape(*mask.shape[:2], -1)
    width = max(1, round(min(mask.shape[:2]) / 200))
    kernel = np.ones((2 * width + 1, 2 * width + 1), "uint8")
    inner = [cv2.erode(mask[..., i], kernel, borderValue=0) for i in range(mask.shape[2])]
    return np.any(mask != np.stack(inner, axis=-1), axis=-1)
