"""Segmentation head: one map per class at the size of the input (paper, Loss Function)."""

import keras
from keras import layers

from transfuse_keras.layers.block import Block
from transfuse_keras.layers.conv import ConvBN
from transfuse_keras.layers.upsampling import BilinearUpsampling


@keras.saving.register_keras_serializable("transfuse_keras")
class Head(Block):
    """Conv-BN-ReLU steps, a 3x3 convolution to `classes` maps, bilinear upsampling.

    Args:
        classes: number of maps, M in the paper.
        width: channels of the hidden convolutions.
        scale: stride of the input map, undone by the upsampling.
        kernel_sizes: kernel of each hidden convolution.

    Call: (B, H, W, C) -> float32 logits (B, scale * H, scale * W, classes).
    """

    def __init__(self, classes, width, scale, kernel_sizes=(3,), **kwargs):
        super().__init__(**kwargs)
        self.hidden = [
            ConvBN(width, kernel_size, activation="relu", name=f"hidden{i}")
            for i, kernel_size in enumerate(kernel_sizes)
        ]
        self.classify = layers.Conv2D(
            classes, 3, padding="same", kernel_initializer="he_normal", name="classify"
        )
        self.up = BilinearUpsampling(scale, dtype="float32")

    def call(self, x):
        for conv in self.hidden:
            x = conv(x)
        return self.up(self.classify(x))
