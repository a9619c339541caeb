"""Pictures that a person can look at: outlines on an image, a slice of a volume."""

import cv2
import numpy as np

from transfuse_keras.data.resize import resize_image, resize_masks
from transfuse_keras.files import replacing

TRUTH, PREDICTION = (0, 255, 0), (255, 0, 255)  # outlines: green and magenta; both: white
# of classes: Okabe and Ito's colours, which colour-blind eyes tell apart; first what shows on grey
CLASS_COLORS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#d55e00", "#cc79a7", "#0072b2")
PICTURE_SIDE = 384  # small images are enlarged to this, so that outlines stay thin


def overlay(image: np.ndarray, mask: np.ndarray, truth: np.ndarray | None = None) -> np.ndarray:
    """Outlines on an image: prediction magenta, ground truth green, white where they coincide.

    Without a truth, each of several classes has its own colour, as in the report.

    Args:
        image: uint8 (H, W, 3), (H, W, 1) or (H, W).
        mask: 0/1 (H, W, M) or (H, W), the prediction.
        truth: 0/1 of the same shape, or None.

    Returns: uint8 (H, W, 3), RGB.

    Raises: ValueError for an image of another type, masks of another height or width, or
    probabilities in place of masks.

    Example:
        >>> import transfuse_keras as tk
        >>> images, masks, spacing = tk.phantoms("polyp", count=2)
        >>> picture = tk.overlay(images[0], masks[1], truth=masks[0])
        >>> picture.shape
        (128, 128, 3)
    """
    image, mask = check_picture(image), np.asarray(mask)
    for masks in (mask,) if truth is None else (mask, np.asarray(truth)):
        check_outlined(masks, image)
    if truth is None and mask.ndim == 3 and mask.shape[2] > 1:
        return overlay_classes(image, mask)
    picture = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image.copy()
    predicted = outline(mask)
    true = outline(truth) if truth is not None else np.zeros_like(predicted)
    picture[predicted] = PREDICTION
    picture[true] = TRUTH
    picture[predicted & true] = 255
    return picture


def check_picture(image):
    """An image as uint8 (H, W, 3) or (H, W, 1); ValueError if it is none."""
    image = np.asarray(image)
    image = image[..., None] if image.ndim == 2 else image
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(
            f"Give an image uint8 (H, W, 3), (H, W, 1) or (H, W), not {image.dtype} {image.shape}."
        )
    return image


def check_outlined(masks, image):
    """Raise ValueError if masks are not of an image's size, or hold other values than 0 and 1."""
    if masks.ndim not in (2, 3) or masks.shape[:2] != image.shape[:2]:
        raise ValueError(f"Masks {masks.shape} do not fit an image {image.shape}.")
    if not ((masks == 0) | (masks == 1)).all():
        raise ValueError(
            "Give masks of 0 and 1: compare probabilities to a threshold, and give a label map as "
            "a mask for each class."
        )


def overlay_classes(image, masks):
    """Outlines on an image, each class in its colour; what comes later is on top.

    Args:
        image: uint8 (H, W, 3) or (H, W, 1).
        masks: 0/1 (H, W, M).

    Returns: uint8 (H, W, 3), RGB.
    """
    picture = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image.copy()
    for k in range(masks.shape[2]):
        picture[outline(masks[..., k])] = list(bytes.fromhex(color_of(k)[1:]))
    return picture


def color_of(index):
    """The colour of class `index`, as "#rrggbb"; after seven they come again."""
    return CLASS_COLORS[index % len(CLASS_COLORS)]


def outline(mask):
    """Pixels of a mask (H, W) or masks (H, W, M) next to their border, as bool (H, W)."""
    mask = np.ascontiguousarray(mask, "uint8").reshape(*mask.shape[:2], -1)
    width = max(1, round(min(mask.shape[:2]) / 200))
    kernel = np.ones((2 * width + 1, 2 * width + 1), "uint8")
    inner = [cv2.erode(mask[..., i], kernel, borderValue=0) for i in range(mask.shape[2])]
    return np.any(mask != np.stack(inner, axis=-1), axis=-1)


def select_visible_slice(image, *masks):
    """What a person can look at: of a volume the slice with most of the last masks, its first
    channel from the darkest percent to the brightest as 0-255."""
    if image.ndim == 3:
        return image, *masks
    index = (masks[-1] == 1).sum(axis=(1, 2, 3)).argmax()
    shown = image[index, ..., :1]
    low, high = np.percentile(shown, (1, 99))
    shown = np.clip(255 * (shown - low) / max(high - low, 1e-6), 0, 255).astype("uint8")
    return shown, *(mask[index] for mask in masks)


def enlarge(image, *masks):
    """Scale a small image and its masks up by a whole number, to about PICTURE_SIDE."""
    factor = max(1, round(PICTURE_SIDE / min(image.shape[:2])))
    size = (factor * image.shape[0], factor * image.shape[1])
    return resize_image(image, size), *(resize_masks(mask, size) for mask in masks)


def save_png(path, pixels):
    """Write uint8 (H, W), or (H, W, 3) of RGB."""
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    # Pillow takes ten times as long. Written by OpenCV, a full disk would not be told, nor that
    # it finds no folder with an accent in its name, on Windows.
    _, encoded = cv2.imencode(".png", pixels)
    with replacing(path) as temporary:
        temporary.write_bytes(encoded)
