"""Attention-gated (AG) skip connection (paper, below eq. 2; Schlemper et al. 2019)."""

import keras
from keras import ops

from transfuse_keras.layers.block import Block
from transfuse_keras.layers.conv import ConvBN
from transfuse_keras.layers.up_conv import UpBlock, UpConvBN


@keras.saving.register_keras_serializable("transfuse_keras")
class AttentionGate(Block):
    """Additive attention: x * sigmoid(BN(conv(relu(BN(conv x) + BN(conv Up(gating)))))).

    Args:
        filters: channels of the space in which the two maps are added.

    Call: x (B, 2H, 2W, C), gating (B, H, W, G) -> (B, 2H, 2W, C).
    """

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.project_gating = UpConvBN(filters, 1, name="project_gating")
        self.project_x = ConvBN(filters, 1, name="project_x")
        self.psi = ConvBN(1, 1, activation="sigmoid", name="psi")

    def call(self, x, gating):
        return x * self.psi(ops.relu(self.project_gating(gating) + self.project_x(x)))


@keras.saving.register_keras_serializable("transfuse_keras")
class GatedDecoder(Block):
    """One decoder step: Conv([AG(skip, Up(x)), Up(x)]), with Up bilinear by 2.

    Args:
        filters: number of output channels.

    Call: x (B, H, W, C), skip (B, 2H, 2W, S) -> (B, 2H, 2W, filters).
    """

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.gate = AttentionGate(filters, name="gate")
        self.conv = UpBlock(filters, name="conv")

    def call(self, x, skip):
        return self.conv(x, self.gate(skip, x))
