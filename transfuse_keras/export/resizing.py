"""OpenCV's resizing as a graph of TensorFlow, for exported files that take any size.

OpenCV resizes 8-bit images in integers. The graph computes the same integers, so a model in it sees
the image that `predict` gives it.
"""

import numpy as np

COEFFICIENT = 2048  # OpenCV's weights of an interpolation are integers of this
FAST_CHANNELS = (1, 3, 4)  # of which OpenCV halves images on a way of its own


def resize_pixels(images, size):
    """uint8 (B, h, w, C) to float32 (B, *size, C) of integers, as `resize_image` does it."""
    import tensorflow as tf

    shape, channels = tf.shape(images)[1:3], images.shape[-1]
    halved = tf.reduce_all(shape == 2 * np.array(size)) & (channels in FAST_CHANNELS)

    def shrink():
        mean = average_areas(tf.cast(images, "float32"), shape, size)
        return tf.where(halved, tf.floor(mean + 0.5), tf.round(mean))

    def interpolate():
        values = tf.cast(images, "int32")
        left, right, share = find_neighbour_pixels(shape[1], size[1])
        share = tf.where(left == right, 0.0, share)
        first, second = coefficients(share[:, None])
        rows = first * tf.gather(values, left, axis=2) + second * tf.gather(values, right, axis=2)
        above, below, share = find_neighbour_pixels(shape[0], size[0])
        first, second = coefficients(share[:, None, None])
        total = first * (tf.gather(rows, above, axis=1) // 16) // 65536
        total += second * (tf.gather(rows, below, axis=1) // 16) // 65536
        return tf.cast((total + 2) // 4, "float32")

    return tf.cond(tf.reduce_all(shape >= size), shrink, interpolate)


def resize_maps(maps, size, shape):
    """float32 (B, *size, M) to (B, *shape, M), as `resize_image` does it."""
    import tensorflow as tf

    def interpolate():
        left, right, share = find_neighbour_pixels(size[1], shape[1])
        share = share[:, None]
        rows = (1 - share) * tf.gather(maps, left, axis=2) + share * tf.gather(maps, right, axis=2)
        above, below, share = find_neighbour_pixels(size[0], shape[0])
        share = share[:, None, None]
        return (1 - share) * tf.gather(rows, above, axis=1) + share * tf.gather(rows, below, axis=1)

    return tf.cond(
        tf.reduce_all(shape <= size), lambda: average_areas(maps, size, shape), interpolate
    )


def average_areas(images, size, wanted):
    """Images (B, *size, C) as the means over the areas of `wanted` = (height, width) pixels."""
    import tensorflow as tf

    rows, height = overlaps(size[0], wanted[0])
    columns, width = overlaps(size[1], wanted[1])
    sums = tf.einsum("ih,bhwc->biwc", rows, images)
    sums = tf.einsum("jw,biwc->bijc", columns, sums)
    return sums * tf.cast(1 / (height * width), "float32")


def overlaps(length, wanted):
    """How much of each of `length` pixels lies in each of `wanted` areas, in pixels: float32
    (wanted, length); and the length of an area. Whole numbers are exact, and so are their sums."""
    import tensorflow as tf

    scale = tf.cast(length, "float64") / tf.cast(wanted, "float64")
    areas = tf.cast(tf.range(wanted), "float64")[:, None]
    pixels = tf.cast(tf.range(length), "float64")
    common = tf.minimum((areas + 1) * scale, pixels + 1) - tf.maximum(areas * scale, pixels)
    return tf.cast(tf.maximum(common, 0), "float32"), scale


def find_neighbour_pixels(length, wanted):
    """Of each of `wanted` pixels the two of `length` that it lies between, and the share of the
    second; beyond an end the two are the same one."""
    import tensorflow as tf

    scale = tf.cast(length, "float64") / tf.cast(wanted, "float64")
    place = tf.cast((tf.cast(tf.range(wanted), "float64") + 0.5) * scale - 0.5, "float32")
    first = tf.floor(place)
    index = tf.cast(first, "int32")
    both = (tf.clip_by_value(x, 0, length - 1) for x in (index, index + 1))
    return *both, place - first


def coefficients(share):
    """OpenCV's two integer weights of an interpolation."""
    import tensorflow as tf

    return (tf.cast(tf.round(x * COEFFICIENT), "int32") for x in (1 - share, share))
