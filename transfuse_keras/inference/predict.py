"""From any image to its mask, and a picture of it."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from transfuse_keras.data.context import find_neighbour_slices, stack
from transfuse_keras.data.readers import picture_pixels, to_8_bits
from transfuse_keras.data.resize import crop_field, resize_image, uncrop_field
from transfuse_keras.errors import InputError
from transfuse_keras.inference.predictor import Predictor, as_predictor

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

AT_ONCE = 8  # images, slices or tiles that go through the model together
FLIP_AXES = {"": (), "h": (2,), "v": (1,), "hv": (2, 1)}  # axes of (B, H, W, C)


def predict(
    model: keras.Model | Predictor,
    image: np.ndarray,
    flips: str = "",
    tile: bool = False,
    mirrored_classes: Sequence[int] | None = None,
) -> np.ndarray:
    """Probability maps of one image of any size.

    Args:
        model: TransFuse or Predictor.
        image: (H, W, C) with the channels of the model, or a PIL image; see `as_pixels`. For a
            model of a task on volumes float32, z-scored; where the task has `context`, the slice
            with its neighbours as channels, see `data.context.stack`.
        flips: "", "h", "v" or "hv": average over the image and its mirror images, left to right,
            upside down, or both, which takes 2, 2 or 4 times as long.
        tile: predict the image at its own scale in overlapping tiles of the model's size, instead
            of resizing it to that size: for models trained on images of that scale.
        mirrored_classes: for each map of an image flipped left to right, the index of the map it
            comes from, `task.mirrored_classes`; by default its own.

    Returns: float32 (H, W, M) in [0, 1] at the image's own size.

    Raises: ValueError if the model is no TransFuse, for an image that is empty or has another
    number of channels, for values that are not finite or whose range cannot be told, or for other
    `flips`.

    Example:
        >>> import transfuse_keras as tk
        >>> model = tk.TransFuse("Ti", input_shape=(32, 32, 3), classes=1)
        >>> images, masks, spacing = tk.phantoms("skin", count=1, size=(100, 80))
        >>> tk.predict(model, images[0]).shape
        (100, 80, 1)
    """
    return next(predict_images(model, [image], flips, tile, mirrored_classes))


def predict_images(model, images, flips="", tile=False, mirrored_classes=None):
    """Probability maps of images, which may differ in size and go through the model together.

    Args: as of `predict`, but for `images`: list of (H, W, C).

    Returns: an iterator over float32 (H, W, M) of each image, enlarged only when its turn comes.
    """
    predictor = average_flips(as_predictor(model), flips, mirrored_classes)
    images = [as_pixels(image, predictor) for image in images]
    for image in images:
        if image.ndim != 3 or image.shape[2] != predictor.channels or not image.size:
            raise ValueError(
                f"The model takes (H, W, {predictor.channels}) images, not {image.shape}."
            )
    if tile:
        return (predict_tiles(predictor, image) for image in images)
    inputs = [resize_image(image, predictor.size) for image in images]
    found = predictor.run(np.stack(inputs)) if inputs else []
    return (resize_image(maps, image.shape[:2]) for image, maps in zip(images, found, strict=True))


def as_pixels(image, predictor):
    """An image as a model takes it.

    A PIL image is read as a file is, see `read_image`. Of arrays, bool becomes 0 and 255, and
    integers above 255 are divided by the range of the smallest of 10, 12, 14 and 16 bits that holds
    the largest. Floating-point values are 0-255 as they are; of a model of a task on volumes they
    are z-scored as they are.

    Raises: InputError for floating-point values that are no 0-255, and negative integers.
    """
    if isinstance(image, (str, Path)):
        raise InputError(
            f"{image}: give the pixels, an array or a PIL image. `transfuse predict`, and the run "
            "that tk.train returns, read files."
        )
    if isinstance(image, Image.Image):
        upright = ImageOps.exif_transpose(image)
        return picture_pixels(upright, predictor.channels)
    image, given = np.asarray(image), image
    if image.dtype.kind not in "biuf":
        raise InputError(f"Give the pixels, an array or a PIL image, not {type(given).__name__}.")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise InputError("The image holds values that are not finite: nan or infinite.")
    if image.dtype == np.uint8 or predictor.z_scored:
        return image
    if image.dtype == bool:
        return image.astype("uint8") * 255
    if image.dtype.kind in "iu":
        return to_8_bits(image, "The image")
    low, high = (image.min(), image.max()) if image.size else (0, 255)
    if (low >= 0 and 1 < high <= 255) or (low < 0 and predictor.z_scored is None):
        return image.astype("float32")
    remedy = "multiply it by 255 if white is 1" if low >= 0 and high <= 1 else "scale it to 0-255"
    raise InputError(
        f"The image is {image.dtype} with values from {low:g} to {high:g}, which does not tell "
        f"black from white: {remedy}, or give uint8, uint16 or a PIL image."
    )


def predict_tiles(predictor, image):
    """Probability maps of an image at its own scale.

    Tiles overlap by half and fade into one another; an image smaller than a tile is continued by
    its reflection.

    Returns: float32 (H, W, M) in [0, 1].
    """
    (height, width), size = image.shape[:2], predictor.size
    missing = [max(0, n - m) for n, m in zip(size, image.shape[:2], strict=True)]
    image = np.pad(image, [*((0, n) for n in missing), (0, 0)], mode="reflect")
    starts = [tile_starts(n, m) for n, m in zip(image.shape[:2], size, strict=True)]
    places = [(slice(y, y + size[0]), slice(x, x + size[1])) for y, x in itertools.product(*starts)]
    # a raised cosine along each side: overlapping by half, they add up to 1
    rows, columns = (np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in size)
    window = (rows[:, None] * columns)[..., None].astype("float32")
    total = np.zeros((*image.shape[:2], predictor.classes), "float32")
    weight = np.zeros((*image.shape[:2], 1), "float32")
    for start in range(0, len(places), AT_ONCE):
        part = places[start : start + AT_ONCE]
        for place, maps in zip(
            part, predictor.run(np.stack([image[x] for x in part])), strict=True
        ):
            total[place] += maps * window
            weight[place] += window
    # rounding must not carry a probability beyond 1
    return np.minimum(total / weight, 1)[:height, :width]


def tile_starts(length, tile):
    """Where tiles begin along a side: half a tile apart, the last one flush with the end."""
    return [*range(0, length - tile, tile // 2), length - tile]


def predict_volume(model, slices, spacing, field, flips="", mirrored_classes=None, context=0):
    """Probability maps of a volume, slice by slice, on its own grid.

    Args:
        model: TransFuse or Predictor of a model trained on a task with this `field`.
        slices: float32 (D, H, W, C), z-scored by channel.
        spacing: (slice, row, column) in mm.
        field: (height, width) in mm that the model sees.
        flips, mirrored_classes: as of `predict`.
        context: of the task, how many slices on either side the model sees besides.

    Returns: float32 (D, H, W, M) in [0, 1]; 0 outside the field.
    """
    predictor = average_flips(as_predictor(model), flips, mirrored_classes)
    maps, rows = [], find_neighbour_slices(len(slices), context)
    for start in range(0, len(slices), AT_ONCE):
        part = rows[start : start + AT_ONCE]
        seen = slices[part.min() : part.max() + 1]
        fitted = np.stack([crop_field(image, spacing[1:], field, predictor.size) for image in seen])
        for found in predictor.run(stack(fitted, part - part.min())):
            maps.append(uncrop_field(found, slices.shape[1:3], spacing[1:], field))
    return np.stack(maps)


def predict_sample(model, sample, image, task, flips="", tile=False):
    """Probability maps of a sample whose image has been read, on its own grid.

    Raises: InputError if a volume is to be predicted in tiles: its field decides what is seen.
    """
    if task.field is None:
        return predict(model, image, flips, tile, task.mirrored_classes)
    if tile:
        raise InputError(f"The task {task.name} is on volumes, which are not cut into tiles.")
    about = task.field, flips, task.mirrored_classes, task.context
    return predict_volume(model, image, sample.spacing, *about)


def predict_samples(model, samples, task, flips=""):
    """Read samples and predict them; of more than AT_ONCE images so many together, and no more
    of them are held.

    Args: as of `predict_sample`, but for `samples`: list of Sample.

    Yields: (sample, image, truth, maps, seconds) of each: what it reads, the probability maps on
    its own grid, and how long the prediction took: of images together its share.
    """
    one_by_one = task.field is not None or len(samples) <= AT_ONCE
    step = 1 if one_by_one else AT_ONCE
    for start in range(0, len(samples), step):
        part = samples[start : start + step]
        cases = [sample.read() for sample in part]
        begun = time.perf_counter()
        if one_by_one:
            found = iter([predict_sample(model, part[0], cases[0][0], task, flips)])
        else:
            images = [image for image, _ in cases]
            # filled up: the model would be compiled anew for another number of images
            images += images[-1:] * (step - len(images))
            found = predict_images(model, images, flips, mirrored_classes=task.mirrored_classes)
        share = (time.perf_counter() - begun) / len(part)
        for sample, (image, truth) in zip(part, cases, strict=True):
            begun = time.perf_counter()
            maps = next(found)
            yield sample, image, truth, maps, share + time.perf_counter() - begun


def choose_flips(flips, task):
    """The mirror images to average over: as given, by default those of the task; "tta" for those
    that the augmentation of the training made.

    Raises: InputError for other words, or if the augmentation is not known.
    """
    if flips is None:
        return task.flips
    if flips != "tta":
        if flips not in FLIP_AXES:
            raise InputError(f"flips must be h, v or hv, not '{flips}'.")
        return flips
    if task.augmentation is None:
        raise InputError(
            "The model does not tell how its training images were flipped, so --tta cannot choose; "
            "give --flip h, v or hv."
        )
    flips = "h" * task.augmentation.flip_horizontal + "v" * task.augmentation.flip_vertical
    if not flips:
        log.warning("--tta averages over nothing: the training images were not flipped.")
    return flips


def average_flips(predictor, flips, mirrored_classes=None):
    """The Predictor that averages over mirror images; arguments as of `predict`."""
    if flips not in FLIP_AXES:
        raise InputError(f"flips must be h, v or hv, not '{flips}'.")
    for axis in FLIP_AXES[flips]:
        swapped = mirrored_classes if axis == 2 else None
        predictor = averaged_along(predictor, axis, swapped)
    return predictor


def averaged_along(predictor, axis, swapped):
    """The Predictor that averages over images (B, H, W, C) and their mirror images along `axis`,
    whose maps are exchanged as `swapped` tells if it is given."""

    def run(images):
        mirrored = predictor.run(np.ascontiguousarray(np.flip(images, axis)))
        mirrored = np.flip(mirrored, axis)
        if swapped is not None:
            mirrored = mirrored[..., swapped]
        return (predictor.run(images) + mirrored) / 2

    return replace(predictor, run=run)
