"""Pre-activation residual bottleneck, the last step of BiFusion (paper, eq. 2: Residual)."""

import keras
from keras import layers, ops

from transfuse_keras.layers.block import Block
from transfuse_keras.layers.conv import batch_norm


def conv(filters, kernel_size, name):
    return layers.Conv2D(
        filters, kernel_size, padding="same", kernel_initializer="he_normal", name=name
    )


@keras.saving.register_keras_serializable("transfuse_keras")
class ResidualBottleneck(Block):
    """BN-ReLU-conv three times (1x1, 3x3, 1x1) plus a 1x1 projection of the input.

    Args:
        filters: number of output channels; the bottleneck has half as many.

    Call: (B, H, W, C) -> (B, H, W, filters).
    """

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.bn1, self.conv1 = batch_norm("bn1"), conv(filters // 2, 1, "conv1")
        self.bn2, self.conv2 = batch_norm("bn2"), conv(filters // 2, 3, "conv2")
        self.bn3, self.conv3 = batch_norm("bn3"), conv(filters, 1, "conv3")
        self.skip = conv(filters, 1, "skip")

    def call(self, x):
        y = self.conv1(ops.relu(self.bn1(x)))
        y = self.conv2(ops.relu(self.bn2(y)))
        y = self.conv3(ops.relu(self.bn3(y)))
        return y + self.skip(x)
