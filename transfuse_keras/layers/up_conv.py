"""Convolutions of an upsampled map, computed before the upsampling.

conv(U x) = sum_k S_k W_k U x      U: upsampling by 2; W_k: tap k of the kernel, a 1x1 conv
          = sum_k (S_k U) W_k x    S_k: shift by k; W_k mixes channels, S_k U pixels
"""

import keras
import numpy as np
from keras import ops

from transfuse_keras.layers.block import Block
from transfuse_keras.layers.conv import ConvBN
from transfuse_keras.layers.upsampling import interpolation_matrix, resize_bilinear


def shifted_interpolation(size, kernel_size):
    """What each tap of a kernel sees of `size` samples that were interpolated to twice as many.

    Returns: float32 array (kernel_size, 2 * size, size). Entry [k] is the interpolation matrix
    shifted by k - kernel_size // 2 rows, with zeros from outside ("same" padding).
    """
    half = kernel_size // 2
    matrix = np.pad(interpolation_matrix(size, 2 * size), ((half, half), (0, 0)))
    return np.stack([matrix[k : k + 2 * size] for k in range(kernel_size)])


def up_conv(x, kernel):
    """Convolution of the map `x` upsampled by 2, bilinear with align_corners, zero padding.

    Both steps are linear: every tap of the kernel is applied to the small map, as a 1x1
    convolution with a quarter of the operations, and what it gives is upsampled and shifted.

    Args:
        x: (B, H, W, C) floating tensor; H, W and C must be static.
        kernel: (K, K, C, F) of the same dtype, K odd.

    Returns: (B, 2H, 2W, F) tensor of the same dtype.
    """
    _, height, width, channels = x.shape
    taps, filters = kernel.shape[0], kernel.shape[-1]
    if taps == 1:
        return resize_bilinear(ops.conv(x, kernel), (2 * height, 2 * width))
    rows = []
    for k in range(taps):
        row = ops.reshape(ops.transpose(kernel[k], (1, 0, 2)), (1, 1, channels, taps * filters))
        rows.append(ops.conv(x, row))
    y = ops.concatenate(rows, axis=1)
    y = ops.reshape(y, (-1, taps * height, width * taps, filters))
    matrix = shifted_interpolation(width, taps).transpose(1, 2, 0).reshape(2 * width, -1)
    y = ops.matmul(ops.cast(matrix, x.dtype), y)
    y = ops.reshape(y, (-1, taps * height, 2 * width * filters))
    matrix = shifted_interpolation(height, taps).transpose(1, 0, 2).reshape(2 * height, -1)
    y = ops.matmul(ops.cast(matrix, x.dtype), y)
    return ops.reshape(y, (-1, 2 * height, 2 * width, filters))


@keras.saving.register_keras_serializable("transfuse_keras")
class UpConvBN(ConvBN):
    """ConvBN of [skip, Up(x)], with Up bilinear by 2.

    Arguments are those of ConvBN.

    Call: x (B, H, W, C), skip (B, 2H, 2W, S) or None -> (B, 2H, 2W, filters).
    """

    def build(self, x_shape, skip_shape=None):
        _, height, width, channels = x_shape
        channels += skip_shape[-1] if skip_shape else 0
        self.conv.build((None, 2 * height, 2 * width, channels))
        self.bn.build((None, 2 * height, 2 * width, self.conv.filters))

    def compute_output_spec(self, x, skip=None, training=False):
        batch, height, width, _ = x.shape
        return keras.KerasTensor(
            (batch, 2 * height, 2 * width, self.conv.filters), self.compute_dtype
        )

    def call(self, x, skip=None, training=False):
        kernel, bias = self.conv.kernel, self.conv.bias
        if not training:
            # No converter folds it over the upsampling.
            kernel, bias = fold(kernel, bias, self.bn)
        kernel, bias = ops.cast(kernel, x.dtype), ops.cast(bias, x.dtype)
        y = up_conv(x, kernel[:, :, -x.shape[-1] :])
        if skip is not None:
            y = y + ops.conv(skip, kernel[:, :, : skip.shape[-1]], padding="same")
        y = y + bias
        return self.activation(self.bn(y, training=True) if training else y)


def fold(kernel, bias, bn):
    """Kernel and bias that include the batch normalisation behind them, as it is in inference.

    Returns: float32 tensors; the statistics are float32 in mixed precision too.
    """
    values = kernel, bias, bn.gamma, bn.beta, bn.moving_mean, bn.moving_variance
    kernel, bias, gamma, beta, mean, variance = (ops.cast(x, "float32") for x in values)
    scale = gamma * ops.rsqrt(variance + bn.epsilon)
    return kernel * scale, (bias - mean) * scale + beta


@keras.saving.register_keras_serializable("transfuse_keras", "DoubleConv")  # as in saved files
class UpBlock(Block):
    """Two 3x3 convolutions of [skip, Up(x)] with a projected identity (authors' DoubleConv).

    relu(BN(conv3(relu(BN(conv3 u)))) + BN(conv1 u)) with u = [skip, Up(x)], Up bilinear by 2,
    and 3x3 and 1x1 convolutions. It stands in every upsampling step, of the PUP decoder and of
    the gated decoder (authors' code; the paper writes "Conv").

    Args:
        filters: number of output channels.

    Call: x (B, H, W, C), skip (B, 2H, 2W, S) or None -> (B, 2H, 2W, filters).
    """

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.conv1 = UpConvBN(filters, 3, activation="relu", name="conv1")
        self.conv2 = ConvBN(filters, 3, name="conv2")
        self.identity = UpConvBN(filters, 1, name="identity")

    def call(self, x, skip=None):
        return ops.relu(self.conv2(self.conv1(x, skip)) + self.identity(x, skip))
