"""Random changes of training images, image and masks together, with OpenCV.

One affine warp moves image and masks, one 3x4 matrix changes all colours: on two cores this gave
several times the images per second of TensorFlow's projective-transform kernel and of Keras'
augmentation layers (benchmarks/augmentation.py).
"""

import math
from dataclasses import replace

import cv2
import numpy as np

# luminance and two colour axes (NTSC); a turn of these two changes the hue
YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
PEN = ((115, 150), (60, 180), (60, 160))  # (low, high) of hue / 2 degrees, saturation, value
PEN_SHARE = 0.5  # of the images
ALONE = ("rotation", "scale", "brightness", "contrast")  # what may have a probability of its own


def augment(image, masks, task, rng, pen_marks=0):
    """Change an image and its masks at random, as `task.augmentation` says.

    Rotation, scale and shift are one affine warp: bilinear on the image, nearest on the masks,
    so these keep their values; what comes in from outside is 0, background. A horizontal flip
    exchanges the maps of `task.mirror_pairs`.

    Args:
        image: (H, W, C), uint8 0-255 or float32 z-scored.
        masks: uint8 (H, W, M) of 0/1 and IGNORED.
        task: Task.
        rng: numpy Generator; the same state gives the same result.
        pen_marks: of the Recipe; only for uint8 (H, W, 3).

    Returns: image and masks of the same shapes and dtypes.
    """
    a = leave_out(task.augmentation, rng)
    if task.context:  # three slices are no colours
        a = replace(a, saturation=0.0, hue=0.0)

    def happens(change):
        return rng.random() < a.probability.get(change, 1.0)

    if (a.rotation or a.scale or a.shift) and happens("move"):
        image, masks = move(image, masks, a, rng)
    mirrored, flipped_vertically = (
        asked and rng.random() < 0.5 for asked in (a.flip_horizontal, a.flip_vertical)
    )
    if mirrored or flipped_vertically:
        image, masks = (flip(values, mirrored, flipped_vertically) for values in (image, masks))
    if mirrored and task.mirror_pairs:
        masks = masks[..., task.mirrored_classes]
    if (a.brightness or a.contrast or a.saturation or a.hue) and happens("colour"):
        image = shift_colour(image, a, rng)
    if pen_marks and rng.random() < PEN_SHARE:
        image = draw_pen_marks(image, pen_marks, rng)
    for name, change in CHANGES.items():
        if getattr(a, name) and happens(name):
            changed = change(image.astype("float32"), getattr(a, name), rng)
            image = to_type(changed, image.dtype)
    return image, masks


def leave_out(a, rng):
    """An Augmentation without those changes that are drawn for themselves and do not happen."""
    out = [x for x in ALONE if x in a.probability and rng.random() >= a.probability[x]]
    return replace(a, **dict.fromkeys(out, 0.0)) if out else a


def to_type(image, dtype):
    """A float32 image as `dtype`, 0-255 if that is uint8."""
    return np.clip(np.round(image), 0, 255).astype(dtype) if dtype == np.uint8 else image


def move(image, masks, a, rng):
    """Rotate, scale and shift about the centre of the image."""
    height, width = image.shape[:2]
    angle = math.radians(rng.uniform(-a.rotation, a.rotation))
    zoom = draw_zoom(a.scale, rng)
    cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
    x, y = (width - 1) / 2, (height - 1) / 2
    right, down = (rng.uniform(-a.shift, a.shift) * side for side in (width, height))
    matrix = np.array(
        [[cos, -sin, x - cos * x + sin * y + right], [sin, cos, y - sin * x - cos * y + down]]
    )

    def warp(values, interpolation):
        moved = cv2.warpAffine(values, matrix, (width, height), flags=interpolation)
        return moved.reshape(values.shape)  # OpenCV drops a single channel

    return warp(image, cv2.INTER_LINEAR), warp(masks, cv2.INTER_NEAREST)


def draw_zoom(scale, rng):
    """A random zoom factor, see `Augmentation.scale`."""
    if not isinstance(scale, tuple):
        return 1 + rng.uniform(-scale, scale)
    low, high = scale
    return 1 / (rng.uniform(low, 1) if rng.random() < 0.5 else rng.uniform(1, high))


def flip(values, mirrored, flipped_vertically):
    axis = -1 if mirrored and flipped_vertically else int(mirrored)  # OpenCV's codes
    return cv2.flip(values, axis).reshape(values.shape)


def shift_colour(image, a, rng):
    """Change brightness, contrast about the mean and, of RGB images, saturation and hue."""
    light, contrast, saturation, turn = (
        rng.uniform(-amount, amount) for amount in (a.brightness, a.contrast, a.saturation, a.hue)
    )
    gain = (1 + light) * (1 + contrast)
    matrix = gain * np.eye(image.shape[2])
    if image.shape[2] == 3 and (a.saturation or a.hue):
        cos, sin = ((1 + saturation) * f(2 * math.pi * turn) for f in (math.cos, math.sin))
        matrix = gain * np.linalg.inv(YIQ) @ [[1, 0, 0], [0, cos, -sin], [0, sin, cos]] @ YIQ
    count = image.shape[2]
    means = [cv2.mean(image[..., i : i + 4]) for i in range(0, count, 4)]  # it takes four at most
    mean = np.concatenate(means)[:count]
    if image.dtype == np.uint8:
        mean = np.full_like(mean, mean.mean())
    offset = (1 + light - gain) * mean
    changed = cv2.transform(image, np.hstack([matrix, offset[:, None]]))
    return changed.reshape(image.shape)


def draw_pen_marks(image, most, rng):
    """Draw one to `most` scribbles of a surgeon's pen, blue to purple, with one opacity.

    Many dermoscopies have such beside the lesion. A model that has not seen them takes the ink for
    a lesion. What a scribble hides keeps its class.

    Args:
        image: uint8 (H, W, 3), RGB.

    Returns: uint8 (H, W, 3).
    """
    drawn, side = image.copy(), min(image.shape[:2])
    for _ in range(rng.integers(1, most + 1)):
        turns = rng.normal(0, side * rng.uniform(0.03, 0.08), (rng.integers(6, 20), 2))
        middle = rng.uniform(0, image.shape[1::-1])
        hsv = [rng.integers(low, high) for low, high in PEN]
        colour = cv2.cvtColor(np.uint8([[hsv]]), cv2.COLOR_HSV2RGB)[0, 0].tolist()
        points = (16 * (middle + turns)).astype("int32")  # in sixteenths of a pixel: shift=4
        width = max(1, round(side * rng.uniform(0.01, 0.03)))
        cv2.polylines(drawn, [points], False, colour, width, cv2.LINE_AA, shift=4)
    opacity = rng.uniform(0.5, 0.95)
    return cv2.addWeighted(drawn, opacity, image, 1 - opacity, 0)


def add_noise(image, largest, rng):
    deviation = rng.uniform(0, largest)  # nnU-Net calls it a variance, but takes it as this
    return image + deviation * rng.standard_normal(image.shape, "float32")


def blur(image, limits, rng):
    blurred = cv2.GaussianBlur(image, (0, 0), rng.uniform(*limits))
    return blurred.reshape(image.shape)


def lower_resolution(image, smallest, rng):
    """Shrink with the nearest pixel, enlarge with a cubic spline (nnU-Net)."""
    height, width = image.shape[:2]
    factor = rng.uniform(smallest, 1)
    small = (max(1, round(width * factor)), max(1, round(height * factor)))
    shrunk = cv2.resize(image, small, interpolation=cv2.INTER_NEAREST)
    return cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_CUBIC).reshape(image.shape)


def change_gamma(image, limits, rng):
    """Raise every channel, scaled to 0-1, to a power; keep its mean and standard deviation."""
    low, high = image.min(axis=(0, 1)), image.max(axis=(0, 1))
    mean, deviation = image.mean(axis=(0, 1)), image.std(axis=(0, 1))
    curved = ((image - low) / np.maximum(high - low, 1e-7)) ** np.float32(rng.uniform(*limits))
    curved -= curved.mean(axis=(0, 1))
    return curved * (deviation / np.maximum(curved.std(axis=(0, 1)), 1e-7)) + mean


def change_inverted_gamma(image, limits, rng):
    return -change_gamma(-image, limits, rng)


# in nnU-Net's order
CHANGES = {
    "noise": add_noise,
    "blur": blur,
    "low_resolution": lower_resolution,
    "gamma_inverted": change_inverted_gamma,
    "gamma": change_gamma,
}
