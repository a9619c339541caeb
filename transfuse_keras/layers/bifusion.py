"""BiFusion: fuse the maps of the CNN and the transformer at one stride (paper, eq. 2)."""

import keras
from keras import layers, ops

from transfuse_keras.layers.block import Block
from transfuse_keras.layers.conv import ConvBN
from transfuse_keras.layers.residual import ResidualBottleneck
from transfuse_keras.layers.spatial_attention import SpatialAttention
from transfuse_keras.layers.squeeze_excitation import SqueezeExcitation

# in the order in which Table 6 adds them
PARTS = ("spatial_attention", "channel_attention", "product")


@keras.saving.register_keras_serializable("transfuse_keras")
class BiFusion(Block):
    """Residual([SpatialAttn(g), ChannelAttn(t), Conv(t W_1 * g W_2)]).

    Args:
        filters: channels of the Hadamard product (L_i in the paper) and of the output.
        reduction: reduction of the channel attention.
        dropout: rate of the channel-wise dropout on the output.
        parts: which of PARTS there are. Without an attention the map goes into the residual
            block as it is, so () is the paper's "Concat+Res".

    Call: g (B, H, W, C), t (B, H, W, D) -> f (B, H, W, filters).

    Raises: ValueError for an unknown part.
    """

    def __init__(self, filters, reduction, dropout=0.0, parts=PARTS, **kwargs):
        super().__init__(**kwargs)
        unknown = set(parts) - set(PARTS)
        if unknown:
            raise ValueError(f"BiFusion has no {min(unknown)!r}; its parts are {', '.join(PARTS)}.")
        self.parts = parts
        if "spatial_attention" in parts:
            self.spatial_attention = SpatialAttention(name="spatial_attention")
        if "channel_attention" in parts:
            self.channel_attention = SqueezeExcitation(reduction, name="channel_attention")
        if "product" in parts:
            self.project_g = ConvBN(filters, 1, name="project_g")
            self.project_t = ConvBN(filters, 1, name="project_t")
            self.product = ConvBN(filters, 3, activation="relu", name="product")
        self.residual = ResidualBottleneck(filters, name="residual")
        self.drop = layers.SpatialDropout2D(dropout)

    def call(self, g, t):
        fused = [
            self.spatial_attention(g) if "spatial_attention" in self.parts else g,
            self.channel_attention(t) if "channel_attention" in self.parts else t,
        ]
        if "product" in self.parts:
            fused.append(self.product(self.project_t(t) * self.project_g(g)))
        return self.drop(self.residual(ops.concatenate(fused, axis=-1)))
