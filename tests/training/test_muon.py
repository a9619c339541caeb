"""Muon: kernels move along their singular vectors, all else as by Adam."""

import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import transfuse_keras as tk
from transfuse_keras.tasks import Recipe
from transfuse_keras.training.adam import Adam
from transfuse_keras.training.muon import Muon, is_matrix, orthogonalize
from transfuse_keras.training.optimizer import create_optimizer

REPLICAS = """
from contextlib import nullcontext
import keras, numpy as np, tensorflow as tf
import transfuse_keras as tk
halves = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], halves)
keras.config.set_floatx("float64")
rng = np.random.default_rng(0)
images, wanted = rng.standard_normal((8, 8, 8, 3)), rng.standard_normal((8, 8, 8, 2))
def train(scope):
    with scope:
        keras.utils.set_random_seed(0)
        convolutions = [keras.layers.Conv2D(n, 3, padding="same") for n in (6, 2)]
        model = keras.Sequential([keras.Input((8, 8, 3)), *convolutions])
        model.compile(tk.Muon(1e-2, global_clipnorm=0.5), "mse")
    start = model.get_weights()
    model.fit(images, wanted, batch_size=4, epochs=2, shuffle=False, verbose=0)
    return [b - a for a, b in zip(start, model.get_weights())]
two = train(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope())
for one, other in zip(train(nullcontext()), two):
    assert abs(one).max() > 1e-3
    np.testing.assert_allclose(one, other, atol=1e-12)
"""


def orthogonalized(matrix):
    return ops.convert_to_numpy(orthogonalize(ops.convert_to_tensor(matrix, "float32")))


def kernel(value, name="kernel"):
    return keras.Variable(np.asarray(value, "float32"), name=name)


@pytest.mark.parametrize("shape", [(12, 40), (40, 12), (16, 16)])
def test_singular_vectors_stay_and_values_come_to_about_one(shape):
    matrix = np.random.default_rng(0).standard_normal(shape)
    left, sizes, right = np.linalg.svd(matrix, full_matrices=False)
    found = left.T @ orthogonalized(1e-4 * matrix) @ right.T
    values = np.diag(found)
    np.testing.assert_allclose(found, np.diag(values), atol=1e-3)
    assert sizes.max() / sizes.min() > 2  # there is something to level
    assert (values[sizes > 0.1 * sizes.max()] > 0.6).all() and values.max() < 1.25


def test_equal_singular_values_follow_the_published_polynomial():
    """16 equal ones begin at 16^(-1/8): the norm of the fourth power bounds the largest."""
    turned = np.linalg.qr(np.random.default_rng(0).standard_normal((16, 16)))[0]
    value = 16 ** (-1 / 8)
    for _ in range(3):
        value = 3.4445 * value - 4.7750 * value**3 + 2.0315 * value**5
    np.testing.assert_allclose(orthogonalized(5 * turned), value * turned, atol=1e-4)


def test_a_gradient_of_zeros_moves_nothing():
    np.testing.assert_array_equal(orthogonalized(np.zeros((3, 5))), np.zeros((3, 5)))


def test_steps_follow_the_mean_gradient_and_the_size_of_the_kernel():
    """Nesterov's momentum by hand; a convolution is the matrix of its window and its outputs."""
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((2, 3, 3, 2, 4))
    weight = kernel(np.zeros((3, 3, 2, 4)))
    muon = Muon(0.1, kernel_rate=5.0, momentum=0.5)
    for gradient in gradients:
        muon.apply([ops.convert_to_tensor(gradient, "float32")], [weight])
    first, second = gradients.reshape(2, 18, 4)
    looked_ahead = (1.5 * first, second + 0.5 * (second + 0.5 * first))
    wanted = -0.1 * 5.0 * 0.2 * np.sqrt(18) * sum(map(orthogonalized, looked_ahead))
    np.testing.assert_allclose(np.asarray(weight).reshape(18, 4), wanted, atol=1e-5)


def test_the_length_of_a_gradient_does_not_count():
    gradient = np.random.default_rng(0).standard_normal((6, 4)).astype("float32")
    weights = []
    for size in (1e-3, 1e3):
        weights.append(kernel(np.zeros((6, 4))))
        Muon().apply([ops.convert_to_tensor(size * gradient)], [weights[-1]])
    np.testing.assert_allclose(*map(np.asarray, weights), rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "shape"), [("bias", (4,)), ("positions", (1, 2, 3, 4)), ("kernel", (3, 3, 4, 1))]
)
def test_all_but_kernels_move_as_by_adam(name, shape):
    gradients = np.random.default_rng(0).standard_normal((3, *shape)).astype("float32")
    weights = []
    for kind in (Adam, Muon):
        weights.append(kernel(np.zeros(shape), name))
        optimizer = kind(0.1, beta_1=0.5, epsilon=1e-8)
        for gradient in gradients:
            optimizer.apply([ops.convert_to_tensor(gradient)], [weights[-1]])
    np.testing.assert_array_equal(*map(np.asarray, weights))


def test_what_makes_logits_and_depthwise_kernels_are_left_to_adam():
    model = tk.TransFuse("Lite", (32, 32, 3), classes=3)
    by_adam = {x.path for x in model.trainable_variables if x.name == "kernel" and not is_matrix(x)}
    heads = {f"{name}_head/classify/kernel" for name in ("mask", "fusion", "transformer")}
    assert heads < by_adam
    others = {path.split("/")[-2] for path in by_adam - heads}
    assert all(name.endswith("conv_dw") or name == "conv" for name in others)
    assert "decoder_8/gate/psi/conv/kernel" in by_adam  # one output
    kernels = [x for x in model.trainable_variables if is_matrix(x)]
    assert {len(x.shape) for x in kernels} == {2, 4}
    assert not any(x.name != "kernel" for x in kernels)


def test_a_kernel_needs_half_of_the_memory():
    weights = [kernel(np.zeros((4, 4))), kernel(np.zeros(4), "bias")]
    optimizer = Muon()
    optimizer.build(weights)
    shapes = sorted(tuple(x.shape) for x in optimizer.variables if len(x.shape))
    assert shapes == [(4,), (4,), (4, 4)]


def test_an_optimiser_is_loaded_as_it_was_saved(smallest, tmp_path):
    model = smallest((32, 32, 3), dropout=0.0)
    model.compile(Muon(1e-3, kernel_rate=3.0, momentum=0.8))
    images = np.random.default_rng(0).standard_normal((2, 32, 32, 3)).astype("float32")
    masks = (images[..., :1] > 0).astype("float32")
    model.train_on_batch(images, masks)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for one, other in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    assert (again.optimizer.kernel_rate, again.optimizer.momentum) == (3.0, 0.8)
    for each in (model, again):
        each.train_on_batch(images, masks)
    for one, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), atol=1e-6)


def test_amsgrad_is_refused():
    with pytest.raises(ValueError, match="no amsgrad"):
        Muon(amsgrad=True)


def test_a_recipe_names_the_rate_of_kernels():
    assert type(create_optimizer(Recipe(), 1)) is Adam
    assert create_optimizer(Recipe(muon=4.0), 1).kernel_rate == 4.0


def test_the_lines_of_the_page_run():
    page = Path(__file__).parents[2] / "docs" / "training.md"
    block = re.search(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)[1]
    exec(block, names := {})
    model = names["model"]
    model.train_on_batch(np.ones((1, 32, 32, 3)), np.ones((1, 30, 30, 1)))
    assert isinstance(model.optimizer, Muon) and model.optimizer.kernel_rate == 8.0


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of tf.distribute")
def test_two_devices_train_to_the_weights_of_one():
    done = subprocess.run([sys.executable, "-c", REPLICAS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
