"""Precision and XLA: every combination trains to the same loss."""

import functools

import keras
import numpy as np
import pytest
from conftest import SMALLEST
from PIL import Image

import transfuse_keras as tk
from transfuse_keras import devices
from transfuse_keras.cli import main
from transfuse_keras.devices import computing_in, describe_computing, resolve_jit
from transfuse_keras.runs.settings import JIT, PRECISIONS
from transfuse_keras.tasks import Recipe
from transfuse_keras.training.adam import Adam
from transfuse_keras.training.optimizer import create_optimizer

TOLERANCE = 0.02  # relative, after 20 steps: Adam's first steps follow the sign of small gradients


@functools.cache
def losses(precision, jit):
    """The loss at each of 20 steps at dropout 0, with the optimiser of the recipes."""
    keras.utils.set_random_seed(0)
    images, masks, _ = tk.phantoms("hip", 4, (32, 48))
    with computing_in(precision):
        model = tk.TransFuse(SMALLEST, (32, 48, 3), classes=3, dropout=0.0)
    model.compile(create_optimizer(Recipe(learning_rate=1e-3), 1), jit_compile=JIT[jit])
    history = model.fit(images / 127.5 - 1, masks, batch_size=4, epochs=20, verbose=0)
    return np.array(history.history["loss"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "jit"),
    [
        ("mixed_bfloat16", "off"),
        pytest.param("float32", "on", marks=pytest.mark.release),
        pytest.param("mixed_float16", "on", marks=pytest.mark.release),
    ],
)
def test_every_precision_reaches_the_same_loss_with_and_without_xla(precision, jit):
    wanted = losses("float32", "off")
    assert wanted[-1] < 0.8 * wanted[0]  # it learns
    found = losses(precision, jit)
    np.testing.assert_allclose(found[-1], wanted[-1], rtol=TOLERANCE)


@pytest.mark.slow
def test_xla_computes_the_same_maps(smallest):
    model, images = smallest(), np.random.default_rng(0).normal(size=(2, 32, 48, 3))
    maps = {}
    for jit in (False, True):
        model.compile(jit_compile=jit)
        maps[jit] = model.predict(images.astype("float32"), verbose=0)["mask"]
    assert np.ptp(maps[False]) > 0.1
    np.testing.assert_allclose(maps[True], maps[False], atol=1e-4)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_and_logits_are_float32_in_every_precision(smallest, precision):
    with computing_in(precision):
        model = smallest()
    assert keras.config.dtype_policy().name == "float32"  # only within
    assert model.vit.output.dtype == precision.rpartition("_")[2]
    assert {weight.dtype for weight in model.trainable_variables} == {"float32"}
    assert {logits.dtype for logits in model.output.values()} == {"float32"}


@pytest.mark.slow
def test_only_float16_scales_the_loss(smallest):
    for precision in PRECISIONS:
        with computing_in(precision):
            model = smallest()
        model.compile(create_optimizer(Recipe(), 1))
        scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        assert scaled == (precision == "mixed_float16")


def test_auto_is_off_on_tensorflows_cpu_and_says_so(smallest, monkeypatch):
    model = smallest()
    model.compile()
    assert model.jit_compile is False
    said = describe_computing(model, "float32", "auto")
    assert "float32, XLA off: on TensorFlow's CPU" in said
    model.compile(jit_compile=True)
    assert "float32, XLA on." in describe_computing(model, "float32", "on")
    monkeypatch.setattr(devices, "on_cpu", lambda: False)
    assert resolve_jit("auto") is True and resolve_jit(False) is False
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")  # Keras would compile "auto"
    assert resolve_jit("auto") is False


def test_clipping_is_that_of_the_recipe():
    """One step of plain gradient descent by the clipped gradient of 3 a - 4 b."""

    def clipped(recipe):
        adam = create_optimizer(recipe, 1)
        return [float(g) for g in adam._clip_gradients([keras.ops.array(x) for x in (3.0, -4.0)])]

    assert clipped(Recipe(clip_norm=2.0)) == pytest.approx([1.2, -1.6])
    assert clipped(tk.tasks.polyp.recipe) == [0.5, -0.5]
    assert clipped(Recipe(clip_norm=None)) == [3, -4]


@pytest.mark.parametrize(
    ("dtype", "arguments"),
    [("float32", {"weight_decay": 0.1}), ("float32", {"amsgrad": True}), ("float64", {})],
)
def test_adam_steps_as_that_of_keras(dtype, arguments):
    def weights_after_steps(adam):
        weight = keras.Variable([1.0, -2.0, 3.0], dtype=dtype)
        for gradient in ([3.0, 0.0, 1e-9], [-1.0, 0.5, 2.0], [0.25, 1.0, -4.0]):
            adam.apply([keras.ops.array(gradient, dtype)], [weight])
        return np.asarray(weight)

    given = {"learning_rate": 0.1, "beta_1": 0.5, "epsilon": 1e-8, **arguments}
    wanted = weights_after_steps(keras.optimizers.Adam(**given))
    np.testing.assert_allclose(weights_after_steps(Adam(**given)), wanted, rtol=2e-6)


def test_accumulated_batches_make_the_step_of_their_mean():
    def weights_after(recipe, gradients):
        weight = keras.Variable([1.0, 2.0])
        adam = create_optimizer(recipe, 1)
        adam.build([weight])
        for gradient in gradients:
            adam.apply([keras.ops.array(gradient)], [weight])
        return np.asarray(weight)

    parts = [[3.0, 0.0], [-1.0, 0.5], [0.25, 1.0], [4.0, 4.0]]
    means = np.mean(np.reshape(parts, (2, 2, 2)), axis=1).tolist()
    ours = weights_after(Recipe(accumulate=2, learning_rate=0.1), parts)
    np.testing.assert_allclose(ours, weights_after(Recipe(learning_rate=0.1), means), rtol=1e-6)


def test_xla_and_precision_of_an_exported_model_are_refused(litert_file, tmp_path, capsys):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    given = ["--input", str(tmp_path), "--out", str(tmp_path / "out"), "--task", "hip"]
    for option in (["--jit", "on"], ["--precision", "mixed_bfloat16"]):
        assert main(["predict", "--model", str(litert_file), *given, *option]) == 2
        assert f"{option[0]} is for .keras" in capsys.readouterr().err
