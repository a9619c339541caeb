"""The convolutions on the small map against those on the upsampled one."""

import keras
import numpy as np
import pytest
from keras import ops

from transfuse_keras import layers
from transfuse_keras.layers.up_conv import fold, up_conv
from transfuse_keras.layers.upsampling import resize_bilinear


def randn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def upsampled(x):
    return resize_bilinear(ops.array(x), (2 * x.shape[1], 2 * x.shape[2]))


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 1, 2, 3)])
def test_convolution_and_upsampling_commute(size, shape):
    x, kernel = randn(*shape), randn(size, size, shape[-1], 6, seed=1)
    wanted = ops.conv(upsampled(x), kernel, padding="same")
    np.testing.assert_allclose(up_conv(ops.array(x), ops.array(kernel)), wanted, atol=2e-5)


def test_batch_normalisation_folds_into_a_convolution():
    conv = keras.layers.Conv2D(5, 3, padding="same")
    bn = keras.layers.BatchNormalization(epsilon=0.1)
    x = randn(2, 6, 7, 3)
    bn(conv(x))
    for seed, variable in enumerate(bn.weights):
        variable.assign(1 + np.abs(randn(5, seed=seed)))
    conv.bias.assign(randn(5))
    kernel, bias = fold(conv.kernel, conv.bias, bn)
    found = ops.conv(x, kernel, padding="same") + bias
    np.testing.assert_allclose(found, bn(conv(x)), atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("with_skip", [False, True])
def test_it_is_the_convolution_of_the_skip_and_the_upsampled_map(training, with_skip):
    """With the same weights as ConvBN: outputs, and the statistics that training moves."""
    x, skip = randn(2, 4, 5, 6), randn(2, 8, 10, 3, seed=1) if with_skip else None
    u = upsampled(x) if skip is None else ops.concatenate([skip, upsampled(x)], axis=-1)
    plain, ours = layers.ConvBN(7, 3, "relu"), layers.UpConvBN(7, 3, "relu")
    plain(u), ours(x, skip)
    weights = [np.abs(randn(*w.shape, seed=i)) + 0.5 for i, w in enumerate(plain.get_weights())]
    weights[0] -= 1
    plain.set_weights(weights), ours.set_weights(weights)
    wanted, found = plain(u, training=training), ours(x, skip, training=training)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    for a, b in zip(plain.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)
    assert np.abs(np.asarray(wanted)).max() > 1
