"""Facts about single blocks; their exact numbers are in weights/test_official.py."""

import keras
import numpy as np
import pytest
from keras import ops

from transfuse_keras import layers
from transfuse_keras.layers.transformer import gelu


def randn(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def test_gelu_is_the_exact_one():
    from scipy.stats import norm

    x = np.linspace(-6, 6, 101, dtype="float32")
    np.testing.assert_allclose(gelu(ops.array(x)), x * norm.cdf(x), atol=1e-6)


def test_attention_is_that_of_keras():
    """The fused projection holds queries, keys and values, each with all heads, in this order."""
    x, dim, heads = randn(2, 5, 12), 12, 3
    ours = layers.SelfAttention(dim, heads)
    theirs = keras.layers.MultiHeadAttention(heads, dim // heads)
    ours(x), theirs(x, x)
    kernels, biases = [], []
    for name in ("query", "key", "value"):
        kernel, bias = getattr(theirs, f"_{name}_dense").get_weights()
        kernels.append(kernel.reshape(dim, dim))
        biases.append(bias.reshape(dim) + 0.1)
        getattr(theirs, f"_{name}_dense").set_weights([kernel, bias + 0.1])
    wanted = theirs(x, x)
    kernel, bias = theirs._output_dense.get_weights()
    ours.qkv.set_weights([np.concatenate(kernels, axis=1), np.concatenate(biases)])
    ours.proj.set_weights([kernel.reshape(dim, dim), bias])
    np.testing.assert_allclose(ours(x), wanted, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_softmax_is_float32_under_every_policy(policy, monkeypatch):
    seen, softmax = [], ops.softmax

    def watched(x):
        seen.append((keras.backend.standardize_dtype(x.dtype), x.shape))
        return softmax(x)

    keras.config.set_dtype_policy(policy)
    try:
        attention = layers.SelfAttention(12, 3)
    finally:
        keras.config.set_dtype_policy("float32")
    x = ops.array(randn(2, 5, 12))
    attention(x)
    monkeypatch.setattr(ops, "softmax", watched)
    y = attention(x, training=True)
    assert keras.backend.standardize_dtype(y.dtype) == policy.removeprefix("mixed_")
    assert seen == [("float32", (2, 3, 5, 5))]


def test_gates_stay_between_none_and_all():
    x = np.abs(randn(2, 6, 6, 8))
    gates = [
        layers.SqueezeExcitation(2)(x) / x,
        layers.SpatialAttention()(x) / x,
        layers.AttentionGate(4)(x, randn(2, 3, 3, 5)) / x,
    ]
    channel, spatial, additive = (np.asarray(gate) for gate in gates)
    for gate in (channel, spatial, additive):
        assert gate.min() > 0 and gate.max() < 1
    # one factor a channel; one factor a position
    np.testing.assert_allclose(channel, channel[:, :1, :1] + 0 * channel, rtol=1e-4)
    for gate in (spatial, additive):
        np.testing.assert_allclose(gate, gate[..., :1] + 0 * gate, rtol=1e-4)


def test_pup_decoder_drops_whole_channels_and_feeds_them_on():
    decoder = layers.PUPDecoder((6, 4), dropout=0.5)
    t0, t1, t2 = decoder(np.ones((8, 2, 3, 16), "float32"), training=True)
    assert t1.shape == (8, 4, 6, 6) and t2.shape == (8, 8, 12, 4)
    per_channel = np.asarray(t0).reshape(8, 6, 16)
    assert set(np.unique(per_channel)) == {0, 2}
    assert (per_channel == per_channel[:, :1]).all()
    kept = decoder(np.ones((8, 2, 3, 16), "float32"), training=False)
    np.testing.assert_array_equal(kept[0], 1)


@pytest.mark.filterwarnings("error::UserWarning")
def test_blocks_survive_a_functional_model_file(tmp_path):
    """Every block is usable alone: a plain functional model of them saves and loads."""
    image = keras.Input((32, 32, 3))
    g = layers.ConvBN(8, 3, activation="relu")(keras.layers.AveragePooling2D(2)(image))
    g = layers.UpBlock(8)(g)
    tokens = layers.TransformerBlock(12, 3)(layers.PatchEmbedding(12)(image))
    t = keras.layers.Reshape((2, 2, 12))(tokens)
    _, _, t = layers.PUPDecoder((8, 8))(t)
    t = layers.BilinearUpsampling(4)(t)
    f = layers.BiFusion(8, 2)(g, t)
    low = keras.layers.AveragePooling2D(2)(f)
    out = layers.Head(2, 8, 1)(layers.GatedDecoder(8)(low, f))
    model = keras.Model(image, out)
    model.save(tmp_path / "blocks.keras")
    loaded = keras.saving.load_model(tmp_path / "blocks.keras")
    x = randn(2, 32, 32, 3)
    np.testing.assert_allclose(loaded(x), model(x), atol=1e-6)
