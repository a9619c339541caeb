"""Bilinear resizing with align_corners: two fixed matrix products.

`keras.layers.UpSampling2D` and `keras.ops.image.resize` know no align_corners, and their
gradient does not compile under XLA in mixed precision (keras issue 20931). A matrix product
is exact, differentiates on every backend and exports to builtin LiteRT operations.
"""

from contextlib import contextmanager
from contextvars import ContextVar

import keras
import numpy as np
from keras import ops


def interpolation_matrix(size_in, size_out):
    """Linear interpolation from `size_in` to `size_out` samples with aligned end points.

    Returns: float32 array (size_out, size_in) whose rows sum to 1. One output sample takes
    the first input sample, as PyTorch does.
    """
    steps = max(size_out - 1, 1)
    # Integer arithmetic: a sample that falls on the grid gets its neighbour's weight 0 exactly.
    numerator = np.arange(size_out) * (size_in - 1)
    left = np.minimum(numerator // steps, max(size_in - 2, 0))
    weight = (numerator - left * steps) / steps
    matrix = np.zeros((size_out, size_in), "float32")
    rows = np.arange(size_out)
    matrix[rows, left] += 1.0 - weight
    matrix[rows, np.minimum(left + 1, size_in - 1)] += weight
    return matrix


def resize_bilinear(x, size):
    """Resize a batch of maps to `size` = (height, width) with align_corners.

    Args:
        x: (B, H, W, C) floating tensor; H, W and C must be static.
        size: target height and width.

    Returns: (B, *size, C) tensor of the same dtype.
    """
    return x if tuple(size) == tuple(x.shape[1:3]) else _resize.get()(x, size)


def resize_by_products(x, size):
    """What `resize_bilinear` does unless `resizing_by` says otherwise."""
    _, height, width, channels = x.shape
    new_height, new_width = size
    # Width first: while the map is still low it is the cheaper of the two products.
    if new_width != width:
        x = ops.matmul(ops.cast(interpolation_matrix(width, new_width), x.dtype), x)
    if new_height != height:
        x = ops.reshape(x, (-1, height, new_width * channels))
        x = ops.matmul(ops.cast(interpolation_matrix(height, new_height), x.dtype), x)
        x = ops.reshape(x, (-1, new_height, new_width, channels))
    return x


_resize = ContextVar("resize", default=resize_by_products)


@contextmanager
def resizing_by(function):
    """Within this context `function` of (x, size) does what `resize_bilinear` is called for.

    Other threads go on as before.
    """
    token = _resize.set(function)
    try:
        yield
    finally:
        _resize.reset(token)


@keras.saving.register_keras_serializable("transfuse_keras")
class BilinearUpsampling(keras.layers.Layer):
    """Bilinear upsampling with align_corners=True by an integer factor.

    Args:
        scale: factor for height and width.

    Call: (B, H, W, C) -> (B, scale * H, scale * W, C), in the layer's compute dtype.
    """

    def __init__(self, scale, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return batch, self.scale * height, self.scale * width, channels

    def call(self, x):
        _, height, width, _ = x.shape
        return resize_bilinear(x, (self.scale * height, self.scale * width))
