"""TF32, which GPUs since Ampere take for float32 products, is off where numbers are compared."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from transfuse_keras.devices import computing_in, exact_products
from transfuse_keras.inference.predictor import as_predictor

enabled = tf.config.experimental.tensor_float_32_execution_enabled


@pytest.mark.parametrize("before", [True, False])
def test_the_switch_is_off_inside_and_back_behind(before):
    tf.config.experimental.enable_tensor_float_32_execution(before)
    try:
        with pytest.raises(ValueError, match="inside"), exact_products():
            assert not enabled()
            raise ValueError("inside")
        assert enabled() == before
        with computing_in("strict_float32"):
            assert not enabled() and keras.config.dtype_policy().name == "float32"
        with computing_in("float32"):
            assert enabled() == before
        assert enabled() == before
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(True)


def to_tf32(x):
    """Float32 numbers rounded to the 10 bits of TF32's mantissa."""
    bits = np.asarray(x, "float32").view("uint32").astype("uint64")
    return ((bits + 0x1000) & 0xFFFFE000).astype("uint32").view("float32")


def test_a_model_computes_in_real_float32_where_files_are_compared(lively_model, monkeypatch):
    """With products as a GPU does them in TF32, a model differs from its own file by more than
    the budget of 1e-4, unless the switch is off when it computes."""
    backend = keras.src.backend
    originals = {"conv": backend.nn.conv, "matmul": backend.numpy.matmul}

    def rounded(name):
        def call(a, b, *arguments, **keywords):
            if enabled():
                a, b = (
                    tf.numpy_function(to_tf32, [x], tf.float32) if tf.is_tensor(x) else to_tf32(x)
                    for x in map(tf.convert_to_tensor, (a, b))
                )
            return originals[name](a, b, *arguments, **keywords)

        return call

    images = np.random.default_rng(0).uniform(0, 255, (1, 32, 48, 3)).astype("float32")
    mean, std = (np.asarray(values, "float32") for values in lively_model.normalization)
    inputs = (images / 255 - mean) / std
    exact = np.asarray(tf.sigmoid(lively_model(inputs)["mask"]))
    tf.config.experimental.enable_tensor_float_32_execution(True)
    monkeypatch.setattr(backend.nn, "conv", rounded("conv"))
    monkeypatch.setattr(backend.numpy, "matmul", rounded("matmul"))
    rough = np.asarray(tf.sigmoid(lively_model(inputs)["mask"]))
    assert np.abs(rough - exact).max() > 1e-4
    model = lively_model.mask_model
    monkeypatch.setattr(model, "predict_on_batch", lambda x: model(x))  # eager: no cached graph
    np.testing.assert_allclose(as_predictor(lively_model).run(images), exact, atol=1e-5)
