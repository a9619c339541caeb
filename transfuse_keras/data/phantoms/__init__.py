"""Built-in images: procedural, with exact masks, so that every task runs without data."""

import numpy as np

from transfuse_keras.data.phantoms import hip, polyp, prostate, skin

# task name -> module with draw(size, rng) and FIELD, the (height, width) shown in millimetres;
# where draw returns a volume, also SLICES, their number, and THICKNESS, of one in millimetres
PHANTOMS = {"hip": hip, "polyp": polyp, "skin": skin, "prostate": prostate}

SMALLEST = 8  # pixels of a side


def phantoms(
    name: str, count: int = 8, size: tuple[int, int] = (128, 128), seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Artificial images of a task.

    Args:
        name: a key of PHANTOMS.
        count: number N of images; of volumes, slices in order, those of volume 0 first.
        size: (H, W) in pixels.
        seed: case i depends on (seed, i, size) alone, however many are drawn.

    Returns: images uint8 (N, H, W, C) in 0-255, of volumes z-scored float32; masks uint8
    (N, H, W, M) of 0/1; and the pixel spacing (row, column) as float64 (2,) in mm.

    Raises: ValueError for an unknown name, a negative count, or sides below SMALLEST pixels.

    Example:
        >>> import transfuse_keras as tk
        >>> images, masks, spacing = tk.phantoms("hip", count=2, size=(64, 48))
        >>> images.shape, masks.shape
        ((2, 64, 48, 3), (2, 64, 48, 3))
    """
    if not isinstance(count, (int, np.integer)) or count < 0:
        raise ValueError(f"count must be a number of images, not {count!r}.")
    if np.shape(size) != (2,) or min(size) < SMALLEST:
        raise ValueError(f"size must be (height, width), each from {SMALLEST} on, not {size!r}.")
    spacing = phantom_spacing(name, size)
    slices = getattr(PHANTOMS[name], "SLICES", None)
    # at least one case: it tells the shapes where no image is asked for
    cases = max(-(-count // (slices or 1)), 1)
    images, masks = zip(*(draw_phantom(name, size, seed, i) for i in range(cases)), strict=True)
    join = np.concatenate if slices else np.stack
    return join(images)[:count], join(masks)[:count], spacing


def draw_phantom(name, size, seed, index):
    """Case `index` of a seed: image uint8 (H, W, C), masks uint8 (H, W, M).

    A volume is image float32 (SLICES, H, W, C), masks uint8 (SLICES, H, W, M).
    """
    return PHANTOMS[name].draw(size, np.random.default_rng([seed, index]))


def phantom_spacing(name, size):
    """Pixel spacing (row, column) in mm of a task's phantoms at a size (H, W)."""
    if name not in PHANTOMS:
        raise ValueError(f"There are no phantoms of {name!r}; known are {', '.join(PHANTOMS)}.")
    return np.divide(PHANTOMS[name].FIELD, size)


def volume_spacing(name, size):
    """Voxel spacing (slice, row, column) in mm of phantoms that are volumes, at a size (H, W)."""
    row, column = phantom_spacing(name, size)
    return np.array([PHANTOMS[name].THICKNESS, row, column])
