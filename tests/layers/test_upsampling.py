import keras
import numpy as np
import pytest
from keras import ops

from transfuse_keras.layers import BilinearUpsampling
from transfuse_keras.layers.upsampling import interpolation_matrix, resize_bilinear


def test_corners_align_and_ramps_stay_ramps():
    ramp = np.add.outer(np.linspace(0, 1, 4), np.linspace(0, 2, 5)).astype("float32")
    wanted = np.add.outer(np.linspace(0, 1, 16), np.linspace(0, 2, 20))
    resized = BilinearUpsampling(4)(ramp[None, ..., None])
    np.testing.assert_allclose(np.asarray(resized)[0, ..., 0], wanted, atol=1e-6)


def test_worked_by_hand():
    # 2 -> 4 samples at positions 0, 1/3, 2/3, 1 of the input
    wanted = [[1, 0], [2 / 3, 1 / 3], [1 / 3, 2 / 3], [0, 1]]
    np.testing.assert_allclose(interpolation_matrix(2, 4), wanted, atol=1e-7)


@pytest.mark.parametrize(("size_in", "size_out"), [(1, 2), (1, 16), (7, 7), (14, 22), (24, 12)])
def test_rows_interpolate(size_in, size_out):
    matrix = interpolation_matrix(size_in, size_out)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
    if size_in == size_out:
        np.testing.assert_array_equal(matrix, np.eye(size_in))
    positions = matrix @ np.arange(size_in)
    wanted = np.linspace(0, size_in - 1, size_out)
    np.testing.assert_allclose(positions, wanted, atol=1e-5)


def test_agrees_with_tensorflow_at_any_size():
    tf = pytest.importorskip("tensorflow")
    x = np.random.default_rng(0).standard_normal((2, 5, 9, 3)).astype("float32")
    for size in [(10, 18), (5, 36), (3, 4), (17, 9)]:
        wanted = tf.compat.v1.image.resize_bilinear(x, size, align_corners=True)
        np.testing.assert_allclose(resize_bilinear(ops.array(x), size), wanted, atol=2e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="compiles with tf.function")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_gradient_under_xla_is_the_transposed_interpolation(dtype):
    import tensorflow as tf

    x = tf.constant(np.random.default_rng(0).standard_normal((1, 3, 4, 2)), dtype)
    upstream = np.random.default_rng(1).standard_normal((1, 6, 8, 2))

    @tf.function(jit_compile=True)
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = resize_bilinear(x, (6, 8))
            total = tf.reduce_sum(tf.cast(y, "float32") * tf.constant(upstream, "float32"))
        return tape.gradient(total, x)

    rows, columns = interpolation_matrix(3, 6), interpolation_matrix(4, 8)
    wanted = np.einsum("oh,pw,bopc->bhwc", rows, columns, upstream)
    tolerance = {"float32": 1e-6, "bfloat16": 3e-2, "float16": 4e-3}[dtype]
    error = np.abs(np.asarray(tf.cast(gradient(x), "float64")) - wanted).max()
    assert error < tolerance * np.abs(wanted).max()
