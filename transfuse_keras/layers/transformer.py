"""Transformer encoder block: multi-head self-attention (paper, eq. 1) and MLP."""

import math

import keras
from keras import layers, ops

from transfuse_keras.layers import normalization
from transfuse_keras.layers.block import Block

EPSILON = 1e-6  # of the LayerNorms, in ViT and DeiT


def gelu(x):
    """Exact (erf) GELU, as DeiT was trained with.

    Written out because `keras.activations.gelu` exports an Erfc operation that ONNX does not
    know; in this form LiteRT fuses it to its builtin GELU.
    """
    return 0.5 * x * (1.0 + ops.erf(x * math.sqrt(0.5)))


@ops.custom_gradient
def gelu_with_slope(x):
    """`gelu` for training: its slope is all that is kept for the gradient.

    Differentiated step by step, it keeps four tensors of the MLP's hidden width.
    """
    below = 0.5 * (1.0 + ops.erf(x * math.sqrt(0.5)))
    slope = below + x * ops.exp(-0.5 * ops.square(x)) / math.sqrt(2 * math.pi)

    def gradient(*arguments, upstream=None):
        return (arguments[0] if upstream is None else upstream) * slope  # PyTorch names it

    return x * below, gradient


def dense(units, name):
    init = keras.initializers.TruncatedNormal(stddev=0.02)
    return layers.Dense(units, kernel_initializer=init, name=name)


def layer_norm(name):
    return normalization.LayerNormalization(epsilon=EPSILON, name=name)


@keras.saving.register_keras_serializable("transfuse_keras")
class SelfAttention(Block):
    """Multi-head self-attention with one fused projection to queries, keys and values.

    softmax(q k^T / sqrt(D_h)) v for every head (paper, eq. 1); the softmax runs in float32.

    Args:
        dim: width of a token; a multiple of `heads`.
        heads: number of attention heads.

    Call: (B, N, dim) -> (B, N, dim).
    """

    def __init__(self, dim, heads, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads
        self.qkv = dense(3 * dim, "qkv")
        self.proj = dense(dim, "proj")

    def call(self, x):
        _, tokens, dim = x.shape
        head_dim = dim // self.heads

        def split_heads(projection):
            projection = ops.reshape(projection, (-1, tokens, self.heads, head_dim))
            return ops.transpose(projection, (0, 2, 1, 3))

        q, k, v = map(split_heads, ops.split(self.qkv(x), 3, axis=-1))
        scores = ops.matmul(q * head_dim**-0.5, ops.transpose(k, (0, 1, 3, 2)))
        weights = ops.softmax(ops.cast(scores, "float32"))
        x = ops.matmul(ops.cast(weights, v.dtype), v)
        x = ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, tokens, dim))
        return self.proj(x)


@keras.saving.register_keras_serializable("transfuse_keras")
class TransformerBlock(Block):
    """One layer of the Transformer encoder: z + MSA(LN(z)), then z + MLP(LN(z)).

    Args:
        dim: width of a token.
        heads: number of attention heads.
        mlp_ratio: width of the MLP's hidden layer in units of `dim`.

    Call: (B, N, dim) -> (B, N, dim).
    """

    def __init__(self, dim, heads, mlp_ratio=4, **kwargs):
        super().__init__(**kwargs)
        self.norm1 = layer_norm("norm1")
        self.attn = SelfAttention(dim, heads, name="attn")
        self.norm2 = layer_norm("norm2")
        self.fc1 = dense(mlp_ratio * dim, "fc1")
        self.fc2 = dense(dim, "fc2")

    def call(self, x, training=False):
        activation = gelu_with_slope if training and normalization.RECOMPUTES else gelu
        x = x + self.attn(self.norm1(x))
        return x + self.fc2(activation(self.fc1(self.norm2(x))))
