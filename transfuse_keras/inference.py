"""From any image to its mask, and a picture of it."""

import cv2
import numpy as np

from transfuse_keras.data.resize import resize_image

TRUTH, PREDICTION = (0, 255, 0), (255, 0, 255)  # outlines: green and magenta; both: white


def normalize(image, normalization):
    """An image 0-255 as the model takes it: (image / 255 - mean) / std, float32."""
    mean, std = (np.asarray(values, "float32") for values in normalization)
    return (image.astype("float32") / 255 - mean) / std


def predict(model, image):
    """Probability maps of one image of any size.

    Args:
        model: TransFuse.
        image: uint8 (H, W, C), 0-255, with the channels of the model.

    Returns: float32 (H, W, M) in [0, 1], bilinearly resized to the image's own size.

    Raises: ValueError if the image has another number of channels.
    """
    _, height, width, channels = model.input_shape
    if image.ndim != 3 or image.shape[2] != channels:
        raise ValueError(f"The model takes (H, W, {channels}) images, not {image.shape}.")
    inputs = normalize(resize_image(image, (height, width)), model.normalization)
    logits = np.asarray(model.mask_model.predict_on_batch(inputs[None]))[0]
    return resize_image(1 / (1 + np.exp(-logits)), image.shape[:2])


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
