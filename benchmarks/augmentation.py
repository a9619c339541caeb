"""Images per second of the skin recipe's input pipeline beside other ways to do the same.

    python benchmarks/augmentation.py             images a second and their ratios
    KERAS_BACKEND=jax python benchmarks/augmentation.py      ours in the form without TensorFlow
    python benchmarks/augmentation.py --profile   where our time goes
    python benchmarks/augmentation.py --memory    resident memory for 2,000 images

Every contender moves, flips and colours 192x256 images and masks in batches of 16 and delivers
float32 batches, normalised. They take turns, and the median of the rounds is printed, by the clock
and by CPU seconds of all processes, which other work on the machine disturbs less. The row of
albumentations needs `pip install albumentations==2.0.8 torch`; it is left out, saying so, if they
are missing. TensorFlow's kernel and Keras' layers are compared on the TensorFlow backend only.
"""

import argparse
import cProfile
import io
import os
import pstats
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import keras
import numpy as np
import psutil

from transfuse_keras.data.augmentation import YIQ, augment
from transfuse_keras.data.cache import read_resized
from transfuse_keras.data.normalization import IMAGENET, normalizer
from transfuse_keras.data.order import Order
from transfuse_keras.data.pipeline import batches
from transfuse_keras.data.samples import Sample
from transfuse_keras.tasks import skin

if ON_TENSORFLOW := keras.backend.backend() == "tensorflow":
    import tensorflow as tf

SIZE, BATCH, IMAGES, ROUNDS, SECONDS = (192, 256), 16, 512, 5, 3.0
A = skin.augmentation


def smooth_images(count):
    """Images and masks with structure, uint8 (count, 192, 256, 3) and (count, 192, 256, 1)."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 12, 16, 3), dtype="uint8")
    images = coarse.repeat(16, axis=1).repeat(16, axis=2)
    return images, (images[..., :1] > 127).astype("uint8")


def ours(images, masks):
    return batches(images, masks, skin, IMAGENET, Order(len(images), BATCH, 0), augmented=True)


def tensorflow_kernel(images, masks):
    """The same on whole batches with ImageProjectiveTransformV3 and one colour matrix."""
    images, masks = tf.constant(images), tf.constant(masks)
    mean, std = (255 * tf.constant(values) for values in IMAGENET)
    inverse = tf.constant(np.linalg.inv(YIQ), tf.float32)

    def warp(values, transforms, how):
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=values,
            transforms=transforms,
            output_shape=SIZE,
            interpolation=how,
            fill_mode="CONSTANT",
            fill_value=0.0,
        )

    def change(indices):
        image, mask = tf.gather(images, indices), tf.gather(masks, indices)
        draw = tf.unstack(tf.random.uniform([9, tf.shape(indices)[0]], -1.0, 1.0))
        moved, coloured = (tf.cast(x < 0, tf.float32) for x in draw[:2])
        angle, zoom = moved * draw[2] * np.radians(A.rotation), 1 + moved * draw[3] * A.scale
        flip = tf.sign(draw[4])
        cos, sin, zero = flip * tf.cos(angle) / zoom, tf.sin(angle) / zoom, tf.zeros_like(angle)
        x, y = (SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2
        rows = [cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y, zero, zero]
        transforms = tf.stack(rows, axis=1)
        image = tf.cast(warp(image, transforms, "BILINEAR"), tf.float32)
        turn = coloured * draw[5] * A.hue * 2 * np.pi
        cos, sin = ((1 + coloured * draw[6] * A.saturation) * f(turn) for f in (tf.cos, tf.sin))
        one, zero = tf.ones_like(turn), tf.zeros_like(turn)
        matrix = tf.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], axis=1)
        matrix = inverse @ tf.reshape(matrix, [-1, 3, 3]) @ tf.constant(YIQ, tf.float32)
        gain = (1 + coloured * draw[7] * A.brightness) * (1 + coloured * draw[8] * A.contrast)
        matrix = tf.transpose(matrix, [0, 2, 1]) * gain[:, None, None]
        image = tf.reshape(tf.reshape(image, [-1, SIZE[0] * SIZE[1], 3]) @ matrix, tf.shape(image))
        image = tf.clip_by_value(image, 0.0, 255.0)
        return (image - mean) / std, tf.cast(warp(mask, transforms, "NEAREST"), tf.float32)

    order = tf.data.Dataset.range(len(images)).shuffle(len(images)).batch(BATCH)
    return order.map(change, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def keras_layers(images, masks):
    """The same with Keras' own augmentation layers."""
    settings = {"data_format": "channels_last"}
    move = keras.layers.RandomRotation(A.rotation / 360, fill_mode="constant", **settings)
    shift = keras.layers.RandomTranslation(A.shift, A.shift, fill_mode="constant", **settings)
    zoom = keras.layers.RandomZoom(A.scale, fill_mode="constant", **settings)
    flip = keras.layers.RandomFlip(**settings)
    jitter = keras.layers.RandomColorJitter(
        value_range=(0, 255),
        brightness_factor=A.brightness,
        contrast_factor=A.contrast,
        saturation_factor=(0.4, 0.6),
        hue_factor=A.hue,
        **settings,
    )
    mean, std = (255 * np.float32(values) for values in IMAGENET)

    def change(image, mask):
        both = {"images": tf.cast(image, tf.float32), "segmentation_masks": mask}
        for layer in (move, shift, zoom, flip):
            both = layer(both, training=True)
        image = jitter(both["images"], training=True)
        return (image - mean) / std, both["segmentation_masks"]

    pairs = tf.data.Dataset.from_tensor_slices((images, masks)).shuffle(len(images)).batch(BATCH)
    return pairs.map(change, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def albumentations_loader(images, masks):
    """albumentations with OpenCV in a PyTorch loader of two processes."""
    import albumentations
    import torch

    limits = [
        (1 - x, 1 + x) if name != "hue" else (-x, x)
        for name, x in (
            ("brightness", A.brightness),
            ("contrast", A.contrast),
            ("saturation", A.saturation),
            ("hue", A.hue),
        )
    ]
    change = albumentations.Compose(
        [
            albumentations.ShiftScaleRotate(
                A.shift, A.scale, A.rotation, border_mode=0, p=A.probability["move"]
            ),
            albumentations.ColorJitter(*limits, p=A.probability["colour"]),
            albumentations.HorizontalFlip(),
            albumentations.VerticalFlip(),
            albumentations.Normalize(),
        ]
    )

    class Pairs(torch.utils.data.Dataset):
        def __len__(self):
            return len(images)

        def __getitem__(self, index):
            changed = change(image=images[index], mask=masks[index])
            return changed["image"], changed["mask"].astype("float32")

    return torch.utils.data.DataLoader(
        Pairs(), BATCH, shuffle=True, num_workers=2, persistent_workers=True
    )


def cpu_seconds():
    """CPU seconds of this process and of those that it started, which still run."""
    this = psutil.Process()
    times = [process.cpu_times() for process in (this, *this.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def images_per_second(dataset, seconds):
    """Images a second and a CPU second over at least `seconds`, epoch after epoch, the first
    batch not counted."""
    count, start = 0, None
    while True:
        for image, _ in dataset:
            if start is None:
                start, cpu = time.perf_counter(), cpu_seconds()
                continue
            count += len(image)
            if time.perf_counter() - start > seconds:
                return count / (time.perf_counter() - start), count / (cpu_seconds() - cpu)
        if isinstance(dataset, keras.utils.PyDataset):
            dataset.on_epoch_end()


def compare():
    images, masks = smooth_images(IMAGES)
    contenders = {"ours": ours}
    if ON_TENSORFLOW:
        contenders |= {"TensorFlow's kernel": tensorflow_kernel, "Keras layers": keras_layers}
    try:
        import albumentations  # noqa: F401
        import torch  # noqa: F401

        contenders["albumentations, 2 processes"] = albumentations_loader
    except ImportError as error:
        print(f"albumentations is left out: {error}")
    datasets = {name: make(images, masks) for name, make in contenders.items()}
    rates = {name: [] for name in datasets}
    for number in range(ROUNDS + 1):  # the first round warms up
        for name, dataset in datasets.items():
            rate = images_per_second(dataset, SECONDS)
            if number:
                rates[name].append(rate)
        print(f"round {number} of {ROUNDS}", file=sys.stderr)
    for name, values in rates.items():
        by_clock, by_cpu = np.median(values, axis=0)
        ratios = np.median(np.divide(rates["ours"], values), axis=0)
        print(
            f"{name:28} {by_clock:6.0f} images/s, ours / this {ratios[0]:5.2f}; "
            f"{by_cpu:6.0f} images/CPU-s, ours / this {ratios[1]:5.2f}"
        )


def profile():
    images, masks = smooth_images(IMAGES)
    normalize = normalizer(IMAGENET, images.dtype)
    rng = np.random.default_rng(0)
    profiler = cProfile.Profile()
    profiler.enable()
    for image, mask in zip(images, masks, strict=True):
        normalize(augment(image, mask, skin, rng)[0])
    profiler.disable()
    out = io.StringIO()
    pstats.Stats(profiler, stream=out).sort_stats("tottime").print_stats(12)
    print(out.getvalue())


def memory():
    count = 2000
    images, masks = smooth_images(8)
    samples = [
        Sample(f"{i}", f"{i}", None, lambda i=i: (images[i % 8], masks[i % 8]))
        for i in range(count)
    ]
    arrays = read_resized(samples, SIZE)
    raw = sum(array.nbytes for array in arrays)
    for _ in range(2):
        for _ in ours(*arrays):
            pass
    imports = "import tensorflow, psutil; print(psutil.Process().memory_info().rss)"
    tensorflow_alone = int(subprocess.check_output([sys.executable, "-c", imports]))
    resident = psutil.Process().memory_info().rss - tensorflow_alone
    print(
        f"{count} images: raw {raw / 2**20:.0f} MiB, resident above the import of TensorFlow "
        f"{resident / 2**20:.0f} MiB, ratio {resident / raw:.2f}"
    )


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    arguments.add_argument("--profile", action="store_true")
    arguments.add_argument("--memory", action="store_true")
    given = arguments.parse_args()
    (profile if given.profile else memory if given.memory else compare)()
