"""The blocks of the paper as Keras layers."""

from transfuse_keras.layers.attention_gate import AttentionGate, GatedDecoder
from transfuse_keras.layers.bifusion import BiFusion
from transfuse_keras.layers.conv import ConvBN
from transfuse_keras.layers.head import Head
from transfuse_keras.layers.patch_embedding import PatchEmbedding
from transfuse_keras.layers.pup_decoder import PUPDecoder
from transfuse_keras.layers.residual import ResidualBottleneck
from transfuse_keras.layers.spatial_attention import SpatialAttention
from transfuse_keras.layers.squeeze_excitation import SqueezeExcitation
from transfuse_keras.layers.transformer import SelfAttention, TransformerBlock
from transfuse_keras.layers.up_conv import UpBlock, UpConvBN
from transfuse_keras.layers.upsampling import BilinearUpsampling
from transfuse_keras.layers.white_balance import WhiteBalance

__all__ = [
    "AttentionGate",
    "BiFusion",
    "BilinearUpsampling",
    "ConvBN",
    "UpBlock",
    "GatedDecoder",
    "Head",
    "PUPDecoder",
    "PatchEmbedding",
    "ResidualBottleneck",
    "SelfAttention",
    "SpatialAttention",
    "SqueezeExcitation",
    "TransformerBlock",
    "UpConvBN",
    "WhiteBalance",
]
