"""The normalisations with a gradient of their own against Keras' and float64 formulas."""

import keras
import numpy as np
import pytest
from keras import ops

from transfuse_keras.layers import normalization, transformer
from transfuse_keras.layers.normalization import BatchNormalization, LayerNormalization
from transfuse_keras.layers.transformer import gelu, gelu_with_slope

tensorflow_only = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="differentiates with tf.GradientTape"
)
PRECISIONS = {"float32": 1e-5, "mixed_bfloat16": 2e-2, "mixed_float16": 2e-3}


def randn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def far_from_zero(*shape):
    """Mean 100, standard deviation 0.5: the squares of it keep no variance in half precision."""
    return 100 + 0.5 * randn(*shape)


def formula(x, axes, epsilon, gamma, beta, upstream):
    """Output and gradients by x, gamma and beta, with NumPy in float64."""
    others = tuple(range(x.ndim - 1))
    inverse = (x.var(axes, keepdims=True) + epsilon) ** -0.5
    normal = (x - x.mean(axes, keepdims=True)) * inverse
    along = upstream * gamma
    d_x = along - along.mean(axes, keepdims=True)
    d_x = inverse * (d_x - normal * (along * normal).mean(axes, keepdims=True))
    return normal * gamma + beta, d_x, (upstream * normal).sum(others), upstream.sum(others)


def differentiate(layer, x, upstream, jit_compile=None):
    """Output and gradients of `layer` in training, compiled with or without XLA, or eager."""
    import tensorflow as tf

    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        variables = [variable.value for variable in layer.trainable_variables]
        return y, *tape.gradient(y, [x, *variables], tf.cast(upstream, y.dtype))

    run = step if jit_compile is None else tf.function(step, jit_compile=jit_compile)
    return [np.asarray(tf.cast(array, "float64")) for array in run(x)]


def error(found, wanted):
    return np.abs(found - wanted).max() / np.abs(wanted).max()


@tensorflow_only
@pytest.mark.parametrize("jit_compile", [None, False, True])
@pytest.mark.parametrize("policy", PRECISIONS)
@pytest.mark.parametrize(
    ("create", "axes"), [(BatchNormalization, (0, 1, 2)), (LayerNormalization, (3,))]
)
def test_outputs_and_gradients_are_those_of_the_formula(create, axes, policy, jit_compile):
    layer = create(epsilon=1e-3, dtype=policy)
    x = ops.cast(randn(4, 5, 6, 7) + 2, layer.compute_dtype)
    layer.build(x.shape)
    gamma, beta = 1 + 0.3 * randn(7, seed=1), randn(7, seed=2)
    layer.gamma.assign(gamma), layer.beta.assign(beta)
    upstream = ops.cast(randn(4, 5, 6, 7, seed=3), layer.compute_dtype)
    found = differentiate(layer, x, upstream, jit_compile)
    seen = [np.asarray(ops.cast(array, "float64")) for array in (x, upstream)]
    wanted = formula(seen[0], axes, 1e-3, gamma, beta, seen[1])
    for one, other in zip(found, wanted, strict=True):
        assert error(one, other) < PRECISIONS[policy]


@pytest.mark.parametrize("policy", PRECISIONS)
def test_batch_statistics_are_those_of_keras_and_frozen_ones_stay(policy):
    x = ops.cast(randn(4, 5, 6, 7) + 2, keras.DTypePolicy(policy).compute_dtype)
    ours, theirs = (
        create(momentum=0.9, dtype=policy)
        for create in (BatchNormalization, keras.layers.BatchNormalization)
    )
    for training in (True, True, False):
        np.testing.assert_allclose(
            *(ops.cast(bn(x, training=training), "float32") for bn in (ours, theirs)), atol=2e-2
        )
    for name in ("moving_mean", "moving_variance"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-5)
    ours.trainable = False
    before = ours.get_weights()
    np.testing.assert_array_equal(
        *(ops.cast(ours(x, training=training), "float32") for training in (True, False))
    )
    for one, other in zip(before, ours.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_statistics_are_float32_under_every_policy(policy):
    """The mean of the squares alone is 10000.25, of which bfloat16 and float16 keep 10000."""
    bn = BatchNormalization(momentum=0.0, epsilon=1e-5, dtype=policy)
    x = ops.cast(far_from_zero(64, 9, 9, 2), bn.compute_dtype)
    seen = np.asarray(ops.cast(x, "float64"))
    y = np.asarray(ops.cast(bn(x, training=True), "float64"))
    np.testing.assert_allclose(bn.moving_mean, seen.mean((0, 1, 2)), rtol=1e-6)
    # on PyTorch Keras subtracts the square of the mean from the mean of the squares
    rtol = 1e-2 if keras.backend.backend() == "torch" else 1e-4
    np.testing.assert_allclose(bn.moving_variance, seen.var((0, 1, 2)), rtol=rtol)
    np.testing.assert_allclose(y.std((0, 1, 2)), 1, atol=1e-2)
    norm = LayerNormalization(epsilon=1e-5, dtype=policy)
    x = ops.cast(far_from_zero(2, 3, 400), norm.compute_dtype)
    for training in (False, True):
        y = np.asarray(ops.cast(norm(x, training=training), "float64"))
        np.testing.assert_allclose(y.mean(-1), 0, atol=1e-2)
        np.testing.assert_allclose(y.std(-1), 1, atol=1e-2)


@tensorflow_only
def test_what_is_recomputed_waits_for_the_gradient():
    import tensorflow as tf

    spec = tf.TensorSpec((2, 3))
    graph = tf.function(normalization.after_gradient).get_concrete_function(spec, spec).graph
    upstream = graph.inputs[1].op
    (again,) = [operation for operation in graph.get_operations() if operation.control_inputs]
    assert again.inputs[0].op is graph.inputs[0].op
    assert again.control_inputs == [upstream]


@tensorflow_only
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_slope_of_gelu_is_its_derivative(dtype):
    import tensorflow as tf
    from scipy.stats import norm

    x = np.linspace(-6, 6, 101, dtype=dtype)
    with tf.GradientTape() as tape:
        variable = tf.Variable(x)
        y = gelu_with_slope(tf.convert_to_tensor(variable))
    tolerance = {"float32": 1e-6, "float64": 1e-14}[dtype]
    slope = norm.cdf(x.astype("float64")) + x * norm.pdf(x.astype("float64"))
    np.testing.assert_allclose(tape.gradient(y, variable), slope, atol=tolerance)
    np.testing.assert_allclose(y, gelu(ops.array(x)), atol=tolerance)


@pytest.mark.parametrize("policy", PRECISIONS)
@pytest.mark.parametrize("create", [BatchNormalization, LayerNormalization])
def test_the_output_has_one_dtype_in_training_and_inference(create, policy):
    layer = create(dtype=policy)
    x = ops.cast(randn(2, 3, 4, 5), layer.compute_dtype)
    dtypes = {keras.backend.standardize_dtype(layer(x, training=t).dtype) for t in (True, False)}
    assert dtypes == {layer.compute_dtype}


def test_other_backends_train_with_keras_own_layers(smallest, monkeypatch):
    """Without our gradients: PyTorch's custom_gradient takes them in another form."""

    def no_gradient(*_):
        raise AssertionError("a gradient of our own")

    model, image = smallest(dropout=0.0), ops.cast(randn(2, 32, 48, 3), "float32")
    start = model.get_weights()
    wanted = model(image, training=True)["mask"]
    trained = model.get_weights()
    monkeypatch.setattr(normalization, "RECOMPUTES", False)
    monkeypatch.setattr(normalization, "normalize", no_gradient)
    monkeypatch.setattr(transformer, "gelu_with_slope", no_gradient)
    model.set_weights(start)
    np.testing.assert_allclose(model(image, training=True)["mask"], wanted, atol=1e-3)
    for ours, theirs in zip(model.get_weights(), trained, strict=True):  # statistics
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
