"""From samples to tf.data batches of (image, mask)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from transfuse_keras.data.augmentation import augment
from transfuse_keras.data.cache import count_images, read_part
from transfuse_keras.data.normalization import check_colour, default_normalization, normalizer
from transfuse_keras.data.order import Order
from transfuse_keras.data.resize import IGNORED
from transfuse_keras.data.samples import SPLITS
from transfuse_keras.data.splits import find_splits
from transfuse_keras.data.survey import fix_augmentation
from transfuse_keras.data.threads import one_thread_each
from transfuse_keras.data.value_range import fix_ranges
from transfuse_keras.data.white_balance import balance_colours
from transfuse_keras.errors import InputError
from transfuse_keras.tasks.task import Task
from transfuse_keras.versions import backend

if TYPE_CHECKING:
    import tensorflow as tf


def dataset(
    task: Task,
    directory: str | Path | None = None,
    split: str = "train",
    image_size: tuple[int, int] | None = None,
    batch_size: int = 8,
    augment: bool = True,
    seed: int = 0,
    normalization: tuple[Sequence[float], Sequence[float]] | None = None,
    shard: tuple[int, int] = (0, 1),
    white_balance: tuple[float, ...] | None = None,
    pen_marks: int = 0,
) -> tf.data.Dataset:
    """A tf.data.Dataset of (image, mask) batches for `model.fit`.

    Args:
        task: Task.
        directory: folder in a known layout, or None for the task's phantoms.
        split: "train", "val" or "test". Training batches are shuffled.
        image_size: (height, width); by default the task's own.
        batch_size: of all workers together; the last batch of an epoch may be smaller.
        augment: whether training images are augmented.
        seed: of phantoms, order and augmentation.
        normalization: (mean, std) of image / 255, `model.normalization`; by default ImageNet's,
            for volumes none.
        shard: (index, count): this is worker `index` of `count`, which reads every count-th
            image only (of volumes all, to keep every count-th slice). The batches of all workers
            are together those of one; for that an incomplete last batch is left out in training
            and padded by images of weight 0 otherwise, for which the others weigh more.
        white_balance: `model.white_balance`, the mean colour that training images get here, before
            they are augmented; to others the model gives it.
        pen_marks: most marks of a pen that the augmentation draws into an image, see `Recipe`.

    Returns: batches of float32 (B, H, W, C), normalised, C = `task.inputs`, and float32
    (B, H, W, M) of 0/1; further of float32 weights: (B,) where they are padded, (B, H, W) where
    the task has `ignore`.

    Raises: InputError if an argument, the folder or a file cannot be used, or there are pen marks
    to draw into what is not RGB.

    Example:
        >>> import transfuse_keras as tk
        >>> data = tk.dataset(tk.tasks.skin, split="val", image_size=(32, 48), batch_size=4)
        >>> images, masks = next(iter(data))
        >>> images.numpy().shape, masks.numpy().shape
        ((4, 32, 48, 3), (4, 32, 48, 1))
    """
    if not isinstance(task, Task):
        raise InputError(f"task is {task!r}; give a Task, such as tk.tasks.hip.")
    if not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise InputError(f"batch_size is {batch_size!r}; give a number of images from 1 on.")
    if image_size is not None and (np.shape(image_size) != (2,) or min(image_size) < 1):
        raise InputError(f"image_size is {image_size!r}; give (height, width).")
    if split not in SPLITS:
        raise InputError(f"Unknown split '{split}'; known are: {', '.join(SPLITS)}.")
    if pen_marks and (task.field is not None or task.channels != 3):
        raise InputError(f"pen_marks are for RGB images, which the task {task.name} has not.")
    recipe = task.recipe if directory is not None else task.phantom_recipe or task.recipe
    size = tuple(image_size or recipe.image_size)
    task, splits = fix_ranges(task, find_splits(task, directory, size, seed))
    samples = splits[split]
    if not samples:
        raise InputError(f"{directory}: has no samples in the {split} split.")
    if split == "train" and augment:
        task = fix_augmentation(task, samples)
    arrays = read_part(samples, size, task.field, shard, task.context)
    normalization = normalization or task.normalization or default_normalization(task.channels)
    training, shared = split == "train", shard[1] > 1
    order = Order(
        count_images(samples), batch_size, seed if training else None, shard, training and shared
    )
    augmented = training and augment
    images, masks = arrays
    if white_balance is not None and training:
        balance_colours(images, check_colour(white_balance, images.shape[-1]))
    padded = shared and not training
    return batches(images, masks, task, normalization, order, augmented, padded, pen_marks)


def batches(images, masks, task, normalization, order, augmented=False, padded=False, pen_marks=0):
    """Batches of arrays, augmented if wanted.

    The augmentation of a sample is a function of the order's seed, the epoch and the sample, and
    of its draw where it was drawn besides.

    Args:
        images: (N, H, W, C), uint8 or float32, or Stacks; kept as they are, not copied.
        masks: uint8 (N, H, W, M) of 0/1 and IGNORED.
        task: Task.
        normalization: (mean, std) of image / 255.
        order: Order of the N samples.
        augmented: whether to augment; needs an order with a seed.
        padded: fill an incomplete last batch with empty images of weight 0, as several devices
            must share it equally. The others weigh so much more that the mean over batches, each
            the mean over its rows, is that over the images.
        pen_marks: of the Recipe, where it is augmented.

    Returns: float32 images and masks and, if padded, weights (B,) of the images; if the task has
    `ignore`, weights (B, H, W) of the pixels, 0 where they are left out. It is a tf.data.Dataset,
    or with another backend than TensorFlow a keras.utils.PyDataset of the same batches.
    """
    normalize = normalizer(normalization, images.dtype)
    p, n = order.part
    rows = order.batch_size // n
    weight = len(order) * order.batch_size / order.count if padded else 1
    ignoring = task.ignore is not None
    weight_shape = masks.shape[1:3] if ignoring else ()

    @one_thread_each()
    def load(k, epoch):
        indices, draws, _ = order.batch(k, epoch)
        size = rows if padded else len(indices)
        batch = np.zeros((size, *images.shape[1:]), "float32")
        truth = np.zeros((size, *masks.shape[1:]), "float32")
        weights = np.zeros((size, *weight_shape), "float32")
        for row, (index, draw) in enumerate(zip(indices, draws, strict=True)):
            image, mask = images[index], masks[index]
            if augmented:
                key = [order.seed, epoch, index * n + p]
                rng = np.random.default_rng([*key, draw] if draw else key)
                image, mask = augment(image, mask, task, rng, pen_marks)
            batch[row], truth[row] = normalize(image), mask == 1
            weights[row] = weight * (mask[..., 0] != IGNORED) if ignoring else weight
        return (batch, truth, weights) if padded or ignoring else (batch, truth)

    if backend() != "tensorflow":
        from transfuse_keras.data.batches import Batches

        return Batches(load, order)
    count = rows if padded else None
    shapes = [(count, *images.shape[1:]), (count, *masks.shape[1:])]
    shapes += [(count, *weight_shape)] if padded or ignoring else []
    return tensorflow_dataset(load, order, shapes)


def tensorflow_dataset(load, order, shapes):
    """The batches that `load` of (number, epoch) gives, as a tf.data.Dataset of these shapes."""
    import tensorflow as tf

    def load_batch(k, epoch):
        parts = tf.numpy_function(load, [k, epoch], (tf.float32,) * len(shapes))
        for part, shape in zip(parts, shapes, strict=True):
            part.set_shape(shape)
        return tuple(parts)

    def begin(_):
        return tf.numpy_function(order.begin_epoch, [], tf.int64)

    # Not from a generator: TensorFlow then tells malloc to give memory back at once, and a
    # quarter of a training's time goes into getting it again.
    return (
        tf.data.Dataset.range(1)
        .map(begin)
        .flat_map(lambda epoch: tf.data.Dataset.range(len(order)).map(lambda k: (k, epoch)))
        .apply(tf.data.experimental.assert_cardinality(len(order)))
        # OpenCV lets go of Python's lock, so threads of one process load side by side
        .map(load_batch, num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )
