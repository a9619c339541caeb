"""BiFusion: fuse the maps of the CNN and the transformer at one stride (paper, eq. 2)."""

import keras
from keras import layers, ops

from transfuse_keras.layers.block import Block
from transfuse_keras.layers.conv import ConvBN
from transfuse_keras.layers.residual import ResidualBottleneck
from transfuse_keras.layers.spatial_attention import SpatialAttention
from transfuse_keras.layers.squeeze_excitation import SqueezeExcitation


@keras.saving.register_keras_serializable("transfuse_keras")
class BiFusion(Block):
    """Residual([SpatialAttn(g), ChannelAttn(t), Conv(t W_1 * g W_2)]).

    Args:
        filters: channels of the Hadamard product (L_i in the paper) and of the output.
        reduction: reduction of the channel attention.
        dropout: rate of the channel-wise dropout on the output.

    Call: g (B, H, W, C), t (B, H, W, D) -> f (B, H, W, filters).
    """

    def __init__(self, filters, reduction, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.spatial_attention = SpatialAttention(name="spatial_attention")
        self.channel_attention = SqueezeExcitation(reduction, name="channel_attention")
        self.project_g = ConvBN(filters, 1, name="project_g")
        self.project_t = ConvBN(filters, 1, name="project_t")
        self.product = ConvBN(filters, 3, activation="relu", name="product")
        self.residual = ResidualBottleneck(filters, name="residual")
        self.drop = layers.SpatialDropout2D(dropout)

    def call(self, g, t):
        b = self.product(self.project_t(t) * self.project_g(g))
        attended = [self.spatial_attention(g), self.channel_attention(t)]
        return self.drop(self.residual(ops.concatenate([*attended, b], axis=-1)))
