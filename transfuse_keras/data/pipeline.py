"""From samples to tf.data batches of (image, mask)."""

import numpy as np

from transfuse_keras.data.augmentation import augment
from transfuse_keras.data.cache import count_images, read_part
from transfuse_keras.data.normalization import default_normalization, normalizer
from transfuse_keras.data.order import Order
from transfuse_keras.data.resize import IGNORED
from transfuse_keras.data.samples import SPLITS
from transfuse_keras.data.splits import find_splits
from transfuse_keras.data.value_range import fix_value_range
from transfuse_keras.errors import InputError


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
        batch_size: of all workers together; the last batch of an epoch may be smaller.
        augment: whether training images are augmented.
        seed: of phantoms, order and augmentation.
        normalization: (mean, std) of image / 255, `model.normalization`; by default ImageNet's,
            for volumes none.
        shard: (index, count): this is worker `index` of `count`, which reads every count-th
            image only (of volumes all, to keep every count-th slice). The batches of all workers
            are together those of one; for that an incomplete last batch is left out in training
            and padded by images of weight 0 otherwise.

    Returns: batches of float32 (B, H, W, C), normalised, and float32 (B, H, W, M) of 0/1; further
    of float32 weights: (B,) where they are padded, (B, H, W) where the task has `ignore`.

    Raises: InputError if the folder, the split or a file cannot be used.
    """
    if split not in SPLITS:
        raise InputError(f"Unknown split '{split}'; known are: {', '.join(SPLITS)}.")
    recipe = task.recipe if directory is not None else task.phantom_recipe or task.recipe
    size = tuple(image_size or recipe.image_size)
    task, splits = fix_value_range(task, find_splits(task, directory, size, seed))
    samples = splits[split]
    if not samples:
        raise InputError(f"{directory}: has no samples in the {split} split.")
    arrays = read_part(samples, size, task.field, shard)
    normalization = normalization or task.normalization or default_normalization(task.channels)
    training, shared = split == "train", shard[1] > 1
    order = Order(
        count_images(samples), batch_size, seed if training else None, shard, training and shared
    )
    augmented = training and augment
    return batches(*arrays, task, normalization, order, augmented, shared and not training)


def batches(images, masks, task, normalization, order, augmented=False, padded=False):
    """Batches of arrays, augmented if wanted.

    The augmentation of a sample is a function of the order's seed, the epoch and the sample.

    Args:
        images: (N, H, W, C), uint8 or float32; kept as they are, not copied.
        masks: uint8 (N, H, W, M) of 0/1 and IGNORED.
        task: Task.
        normalization: (mean, std) of image / 255.
        order: Order of the N samples.
        augmented: whether to augment; needs an order with a seed.
        padded: fill an incomplete last batch with empty images of weight 0, as several devices
            must share it equally.

    Returns: tf.data.Dataset of float32 images and masks and, if padded, weights (B,) of the
    images; if the task has `ignore`, weights (B, H, W) of the pixels, 0 where they are left out.
    """
    import tensorflow as tf

    normalize = normalizer(normalization, images.dtype)
    p, n = order.part
    rows = order.batch_size // n
    ignoring = task.ignore is not None
    weight_shape = masks.shape[1:3] if ignoring else ()

    def load(indices, epoch):
        size = rows if padded else len(indices)
        batch = np.zeros((size, *images.shape[1:]), "float32")
        truth = np.zeros((size, *masks.shape[1:]), "float32")
        weights = np.zeros((size, *weight_shape), "float32")
        for row, index in enumerate(indices):
            image, mask = images[index], masks[index]
            if augmented:
                rng = np.random.default_rng([order.seed, epoch, index * n + p])
                image, mask = augment(image, mask, task, rng)
            batch[row], truth[row] = normalize(image), mask == 1
            weights[row] = mask[..., 0] != IGNORED if ignoring else 1
        return batch, truth, weights

    def load_batch(indices, epoch):
        parts = tf.numpy_function(load, [indices, epoch], (tf.float32,) * 3)
        for part, shape in zip(
            parts, (images.shape[1:], masks.shape[1:], weight_shape), strict=True
        ):
            part.set_shape((rows if padded else None, *shape))
        return tuple(parts) if padded or ignoring else tuple(parts[:2])

    signature = tf.TensorSpec((None,), "int64"), tf.TensorSpec((), "int64")
    # OpenCV lets go of Python's lock, so threads of one process load side by side
    return (
        tf.data.Dataset.from_generator(lambda: order, output_signature=signature)
        .apply(tf.data.experimental.assert_cardinality(len(order)))
        .map(load_batch, num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )
