"""Samples: what the data wing knows of an image before it is read, and reading many of them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from transfuse_keras.data.phantoms import draw_phantom, phantom_spacing
from transfuse_keras.data.resize import resize_image, resize_masks


@dataclass(frozen=True)
class Sample:
    """One image with its masks, read on demand.

    Attributes:
        name: unique in its data set.
        group: the patient; samples of one group never part in a split.
        spacing: (row, column) millimetres per pixel, or None where unknown.
        read: function without arguments -> image uint8 (H, W, C), masks uint8 (H, W, M) of 0/1.
    """

    name: str
    group: str
    spacing: tuple[float, float] | None
    read: Callable


def phantom_samples(task, size, seed, indices):
    """Phantoms of a task as samples; case i of a seed is the same whatever `indices` are."""
    spacing = tuple(phantom_spacing(task.name, size))
    return [
        Sample(f"phantom-{i:04}", f"{i}", spacing, partial(draw_phantom, task.name, size, seed, i))
        for i in indices
    ]


def read_resized(samples, size):
    """Read samples in parallel and resize them.

    Args:
        samples: non-empty list of Sample.
        size: (height, width).

    Returns: images uint8 (N, *size, C), masks uint8 (N, *size, M) of 0/1.

    Raises: InputError of the first sample that cannot be read.
    """

    def read(sample):
        image, masks = sample.read()
        return resize_image(image, size), resize_masks(masks, size)

    with ThreadPoolExecutor() as pool:
        pairs = pool.map(read, samples)
        image, mask = next(pairs)
        images = np.empty((len(samples), *image.shape), image.dtype)
        masks = np.empty((len(samples), *mask.shape), mask.dtype)
        images[0], masks[0] = image, mask
        for i, pair in enumerate(pairs, 1):
            images[i], masks[i] = pair
    return images, masks


def check_samples(samples):
    """Read samples in parallel, keep nothing: raises the InputError of the first bad one."""
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(lambda sample: bool(sample.read()), samples):
            pass
