"""From samples to tf.data batches of (image, mask)."""

import itertools

import cv2
import numpy as np
import tensorflow as tf

from transfuse_keras.data.augmentation import augment
from transfuse_keras.data.cache import read_resized
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.layouts.listing import describe_spacing
from transfuse_keras.data.samples import phantom_samples
from transfuse_keras.data.splits import SPLITS, complete_splits, split_fold
from transfuse_keras.errors import InputError

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and std of RGB / 255


def find_splits(task, directory=None, image_size=None, seed=0, spacing=None, fold=None):
    """The samples of a task, split.

    Args:
        task: Task.
        directory: folder in a known layout, or None for phantoms.
        image_size: (height, width) of the phantoms; images from a folder keep their own.
        seed: of the phantoms.
        spacing: (row, column) mm of images whose spacing is not known otherwise.
        fold: (index, count) of a cross-validation, which splits all samples anew.

    Returns: {"train", "val", "test"} -> list of Sample. Warnings about the folder are printed.

    Raises: InputError if the folder cannot be used; see `transfuse check` for a full list.
    """
    if directory is not None:
        listing = find_samples(task, directory, spacing)
        if listing.errors:
            more = len(listing.errors) - 1
            hint = f" (and {more} more, listed by `transfuse check`)" if more else ""
            raise InputError(listing.errors[0] + hint)
        if fold is None:
            splits, note = complete_splits(listing.samples)
        else:
            splits = split_fold(listing.samples, *fold)
            note = f"Fold {fold[0] + 1} of {fold[1]} by patient."
        print("\n".join([*listing.warnings, note, describe_spacing(listing.samples)]))
        return splits
    recipe = task.phantom_recipe
    if recipe is None:
        raise InputError(f"The task {task.name} has no phantoms; give --data DIR.")
    size = tuple(image_size or recipe.image_size)
    if fold is not None:
        return split_fold(phantom_samples(task, size, seed, range(sum(recipe.counts))), *fold)
    ends = list(itertools.accumulate(recipe.counts, initial=0))
    return {
        part: phantom_samples(task, size, seed, range(start, end))
        for part, (start, end) in zip(SPLITS, itertools.pairwise(ends), strict=True)
    }


def dataset(
    task,
    directory=None,
    split="train",
    image_size=None,
    batch_size=8,
    augment=True,
    seed=0,
    normalization=None,
    shard=(0, 1),
):
    """A tf.data.Dataset of (image, mask) batches for `model.fit`.

    Args:
        task: Task.
        directory: folder in a known layout, or None for the task's phantoms.
        split: "train", "val" or "test". Training batches are shuffled.
        image_size: (height, width); by default the task's own.
        batch_size: the last batch of an epoch may be smaller.
        augment: whether training images are augmented.
        seed: of phantoms, order and augmentation.
        normalization: (mean, std) of image / 255, `model.normalization`; by default ImageNet's,
            for volumes none.
        shard: (index, count): this is worker `index` of `count`, which reads every count-th
            sample only.

    Returns: batches of float32 (B, H, W, C), normalised, and float32 (B, H, W, M) of 0/1.

    Raises: InputError if the folder, the split or a file cannot be used.
    """
    if split not in SPLITS:
        raise InputError(f"Unknown split '{split}'; known are: {', '.join(SPLITS)}.")
    recipe = task.recipe if directory is not None else task.phantom_recipe or task.recipe
    size = tuple(image_size or recipe.image_size)
    index, count = shard
    samples = find_splits(task, directory, size, seed)[split][index::count]
    if not samples:
        raise InputError(f"{directory}: has no samples in the {split} split.")
    arrays = read_resized(samples, size, task.field)
    normalization = normalization or task.normalization or default_normalization(task.channels)
    if split != "train":
        return batches(*arrays, task, batch_size, normalization)
    return batches(*arrays, task, batch_size, normalization, seed=seed, augmented=augment)


def default_normalization(channels):
    """ImageNet's for RGB, its average for grayscale."""
    if channels == 3:
        return IMAGENET
    return tuple((sum(values) / 3,) * channels for values in IMAGENET)


def batches(images, masks, task, batch_size, normalization, seed=None, augmented=False):
    """Batches of arrays, shuffled and augmented where a seed is given.

    Order and augmentation are a function of the seed and of how often the dataset has been
    iterated: every epoch differs, a repeated run does not.

    Args:
        images: (N, H, W, C), uint8 or float32; kept as they are, not copied.
        masks: uint8 (N, H, W, M) of 0/1.
        task: Task.
        batch_size: of the batches.
        normalization: (mean, std) of image / 255.
        seed: integer, or None for the given order.
        augmented: whether to augment; needs a seed.

    Returns: tf.data.Dataset of float32 images and masks.
    """
    normalize = normalizer(normalization, images.dtype)

    def load(indices, key):
        rng = np.random.default_rng(key)
        batch = np.empty((len(indices), *images.shape[1:]), "float32")
        truth = np.empty((len(indices), *masks.shape[1:]), "float32")
        for row, index in enumerate(indices):
            image, mask = images[index], masks[index]
            if augmented:
                image, mask = augment(image, mask, task, rng)
            batch[row], truth[row] = normalize(image), mask
        return batch, truth

    def load_batch(indices, key):
        batch, truth = tf.numpy_function(load, [indices, key], (tf.float32, tf.float32))
        batch.set_shape((None, *images.shape[1:]))
        truth.set_shape((None, *masks.shape[1:]))
        return batch, truth

    order = tf.data.Dataset.range(len(images))
    if seed is not None:
        order = order.shuffle(len(images), seed)
    keys = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2)
    # OpenCV lets go of Python's lock, so threads of one process load side by side
    return (
        tf.data.Dataset.zip(order.batch(batch_size), keys)
        .map(load_batch, num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )


def normalizer(normalization, dtype):
    """The function from an image (H, W, C) of `dtype` to (image / 255 - mean) / std, float32."""
    mean, std = (np.asarray(values, "float64") for values in normalization)
    if dtype != np.uint8:
        gain, offset = (1 / (255 * std)).astype("float32"), (mean / std).astype("float32")
        return lambda image: image * gain - offset
    table = ((np.arange(256)[:, None] / 255 - mean) / std).astype("float32")[None]
    return lambda image: cv2.LUT(np.ascontiguousarray(image), table).reshape(image.shape)
