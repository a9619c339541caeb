"""CBAM spatial attention (paper, eq. 2: SpatialAttn; Woo et al. 2018)."""

import keras
from keras import ops

from transfuse_keras.layers.block import Block
from transfuse_keras.layers.conv import ConvBN


@keras.saving.register_keras_serializable("transfuse_keras")
class SpatialAttention(Block):
    """Weigh every position by a gate computed from the maximum and mean over channels.

    Call: (B, H, W, C) -> (B, H, W, C), each position times a factor in (0, 1).
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.spatial = ConvBN(1, 7, activation="sigmoid", use_bias=False, name="spatial")

    def call(self, x):
        pooled = [ops.max(x, axis=-1, keepdims=True), ops.mean(x, axis=-1, keepdims=True)]
        return x * self.spatial(ops.concatenate(pooled, axis=-1))
