"""From samples to tf.data batches of (image, mask)."""

import itertools

import tensorflow as tf

from transfuse_keras.data.augmentation import augment
from transfuse_keras.data.folders import find_samples
from transfuse_keras.data.samples import phantom_samples, read_resized
from transfuse_keras.data.splits import SPLITS, split_by_group
from transfuse_keras.errors import InputError

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and std of RGB / 255


def find_splits(task, directory=None, image_size=None, seed=0):
    """The samples of a task, split.

    Args:
        task: Task.
        directory: folder with images/ and masks/, or None for phantoms.
        image_size: (height, width) of the phantoms; images from a folder keep their own.
        seed: of the phantoms.

    Returns: {"train", "val", "test"} -> list of Sample.

    Raises: InputError if the folder cannot be used.
    """
    if directory is not None:
        return split_by_group(find_samples(task, directory))
    size = tuple(image_size or task.phantom_recipe.image_size)
    ends = list(itertools.accumulate(task.phantom_recipe.counts, initial=0))
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
    normalization=IMAGENET,
):
    """A tf.data.Dataset of (image, mask) batches for `model.fit`.

    Args:
        task: Task.
        directory: folder with images/ and masks/, or None for the task's phantoms.
        split: "train", "val" or "test". Training batches are shuffled.
        image_size: (height, width); by default the task's own.
        batch_size: the last batch of an epoch may be smaller.
        augment: whether training images are augmented.
        seed: of phantoms, order and augmentation.
        normalization: (mean, std) of image / 255, `model.normalization`.

    Returns: batches of float32 (B, H, W, C), normalised, and float32 (B, H, W, M) of 0/1.

    Raises: InputError if the folder, the split or a file cannot be used.
    """
    if split not in SPLITS:
        raise InputError(f"Unknown split '{split}'; known are: {', '.join(SPLITS)}.")
    recipe = task.phantom_recipe if directory is None else task.recipe
    size = tuple(image_size or recipe.image_size)
    images, masks = read_resized(find_splits(task, directory, size, seed)[split], size)
    if split != "train":
        return batches(images, masks, task, batch_size, normalization)
    return batches(images, masks, task, batch_size, normalization, seed=seed, augmented=augment)


def batches(images, masks, task, batch_size, normalization, seed=None, augmented=False):
    """Batches of arrays, shuffled and augmented where a seed is given.

    Order and augmentation are a function of the seed and of how often the dataset has been
    iterated: every epoch differs, a repeated run does not.

    Args:
        images: uint8 (N, H, W, C).
        masks: uint8 (N, H, W, M) of 0/1.
        task: Task.
        batch_size: of the batches.
        normalization: (mean, std) of image / 255.
        seed: integer, or None for the given order.
        augmented: whether to augment; needs a seed.

    Returns: tf.data.Dataset of float32 images and masks.
    """
    mean, std = (tf.constant(values, tf.float32) for values in normalization)

    def prepare(image, mask):
        return (tf.cast(image, tf.float32) / 255 - mean) / std, tf.cast(mask, tf.float32)

    images, masks = tf.constant(images), tf.constant(masks)
    order = tf.data.Dataset.range(len(images))
    if seed is not None:
        order = order.shuffle(len(images), seed)
    # shuffling numbers instead of images keeps one copy of them in memory
    samples = order.batch(batch_size).map(lambda i: (tf.gather(images, i), tf.gather(masks, i)))
    if augmented:
        seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2)
        samples = tf.data.Dataset.zip(samples, seeds).map(
            lambda pair, key: augment(*pair, task, key), num_parallel_calls=tf.data.AUTOTUNE
        )
    return samples.map(prepare, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
