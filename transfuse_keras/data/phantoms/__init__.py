"""Built-in images: procedural, with exact masks, so that every task runs without data."""

import numpy as np

from transfuse_keras.data.phantoms import hip

# task name -> module with draw(size, rng) and FIELD, the (height, width) shown in millimetres
PHANTOMS = {"hip": hip}


def phantoms(name, count=8, size=(128, 128), seed=0):
    """Artificial images of a task.

    Args:
        name: a key of PHANTOMS.
        count: number N of images.
        size: (H, W) in pixels.
        seed: case i depends on (seed, i, size) alone, however many are drawn.

    Returns: images uint8 (N, H, W, C) in 0-255, masks uint8 (N, H, W, M) of 0/1, and the pixel
    spacing (row, column) as float64 (2,) in mm.

    Raises: ValueError for an unknown name.
    """
    spacing = phantom_spacing(name, size)
    cases = [draw_phantom(name, size, seed, i) for i in range(count)]
    if not cases:
        image, masks = draw_phantom(name, size, seed, 0)
        return np.empty((0, *image.shape), "uint8"), np.empty((0, *masks.shape), "uint8"), spacing
    images, masks = zip(*cases, strict=True)
    return np.stack(images), np.stack(masks), spacing


def draw_phantom(name, size, seed, index):
    """Case `index` of a seed: image uint8 (H, W, C), masks uint8 (H, W, M)."""
    return PHANTOMS[name].draw(size, np.random.default_rng([seed, index]))


def phantom_spacing(name, size):
    """Pixel spacing (row, column) in mm of a task's phantoms at a size (H, W)."""
    if name not in PHANTOMS:
        raise ValueError(f"There are no phantoms of {name!r}; known are {', '.join(PHANTOMS)}.")
    return np.divide(PHANTOMS[name].FIELD, size)
