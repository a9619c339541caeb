"""Five training steps of Ti, the same on TensorFlow, JAX and PyTorch but for rounding.

The golden maps, losses, gradients and the training step of the authors' code are in
weights/test_official.py. `make test-jax` and `make test-torch` run both on these backends.

python tests/test_backends.py writes the fixture, by the backend that it runs on.
"""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from parity import input_image, state_from_names

import transfuse_keras as tk
from transfuse_keras.devices import (
    check_devices,
    computing_in,
    exact_products,
    name_accelerators,
    torch_trains_in,
)
from transfuse_keras.errors import InputError
from transfuse_keras.runs.processor import describe_processor
from transfuse_keras.tasks.task import Recipe
from transfuse_keras.training.optimizer import averaged_weights, create_optimizer
from transfuse_keras.weights import official_state

FIXTURE = Path(__file__).parent / "fixtures" / "five_steps_Ti.npz"
SHAPE, STEPS = (64, 64, 3), 5
elsewhere = pytest.mark.skipif(
    keras.backend.backend() == "tensorflow",
    reason="on TensorFlow tests/test_precision.py, model/test_multiscale.py and training/ show it",
)
on_pytorch = pytest.mark.skipif(keras.backend.backend() != "torch", reason="is on PyTorch")


def train(order):
    """Losses of five steps on four images in this order, and what they added to the weights.

    Returns: float64 (STEPS,), and (V,): the change of each variable, projected on random signs.
    """
    model = tk.TransFuse("Ti", SHAPE, dropout=0.0)
    names = {name: array.shape for name, array in official_state(model).items()}
    tk.load_official(model, state_from_names(names))
    before = values(model)
    images = input_image((4, 3, *SHAPE[:2]), key=b"train")[order]
    masks = (images[..., :1] > 0).astype("float32")
    model.compile(keras.optimizers.SGD(0.01))
    losses = [float(model.train_on_batch(images, masks)[0]) for _ in range(STEPS)]
    rng = np.random.default_rng(0)
    changes = [after - old for after, old in zip(values(model), before, strict=True)]
    signs = [rng.integers(0, 2, change.shape) * 2.0 - 1 for change in changes]
    return np.array(losses), np.array([np.vdot(*x) for x in zip(changes, signs, strict=True)])


def values(model):
    return [keras.ops.convert_to_numpy(weight).astype("float64") for weight in model.weights]


@pytest.mark.slow
def test_five_steps_differ_by_no_more_than_another_order_of_summation():
    stored = np.load(FIXTURE)
    losses, changes = train([0, 1, 2, 3])
    # one repetition tells the noise of five numbers less well than that of hundreds
    np.testing.assert_allclose(losses, stored["losses"], rtol=10 * stored["loss_noise"])
    difference = np.linalg.norm(changes - stored["changes"])
    assert difference < 3 * stored["change_noise"], difference / stored["change_noise"]
    assert stored["change_noise"] < 0.1 * np.linalg.norm(stored["changes"])


@pytest.fixture
def pictures():
    images = input_image((4, 3, 32, 48), key=b"train")
    return images, (images[..., :1] > 0).astype("float32")


@elsewhere
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_float32_weights_or_is_refused(smallest, pictures, precision):
    try:
        check_devices(4, precision)
    except InputError as refusal:
        assert keras.backend.backend() == "torch" and not name_accelerators()
        assert precision in str(refusal)
        assert precision == "mixed_float16" or "AVX-512" not in describe_processor()["instructions"]
        return
    with computing_in(precision):
        model = smallest((32, 48, 3))
    model.compile(create_optimizer(Recipe(), batches=1))
    before = values(model)
    history = model.fit(*pictures, batch_size=4, epochs=1, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert {keras.backend.standardize_dtype(v.dtype) for v in model.weights} == {"float32"}
    assert any((a != b).any() for a, b in zip(values(model), before, strict=True))


@on_pytorch
def test_pytorch_trains_in_bfloat16_as_in_float32(smallest, pictures):
    """tests/test_precision.py shows it of TensorFlow."""
    if not torch_trains_in("mixed_bfloat16"):
        pytest.skip("oneDNN has no bfloat16 on this processor")
    losses = {}
    for precision in ("float32", "mixed_bfloat16"):
        keras.utils.set_random_seed(0)
        with computing_in(precision):
            model = smallest((32, 48, 3), dropout=0.0)
        model.compile(create_optimizer(Recipe(learning_rate=1e-3), batches=1))
        losses[precision] = [float(model.train_on_batch(*pictures)[0]) for _ in range(5)]
    wanted = losses["float32"]
    assert wanted[-1] < 0.95 * wanted[0]  # it learns
    np.testing.assert_allclose(losses["mixed_bfloat16"], wanted, rtol=0.02)
    assert losses["mixed_bfloat16"] != wanted


@on_pytorch
def test_pytorch_refuses_bfloat16_without_onednn(monkeypatch):
    """Several GPUs in one process, too: training/test_torchrun.py."""
    import torch

    if name_accelerators():
        return
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    check_devices(4)
    with pytest.raises(InputError, match="mixed_bfloat16"):
        check_devices(4, "mixed_bfloat16")


@elsewhere
def test_exact_products_turn_off_tf32_and_back():
    """On a GPU; tests/test_exact_products.py shows what it is for, on TensorFlow."""
    if keras.backend.backend() == "jax":
        import jax

        def switches():
            return jax.config.jax_default_matmul_precision
    else:
        import torch

        torch.backends.cudnn.allow_tf32 = True  # as it comes

        def switches():
            return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    inside = {"jax": "highest", "torch": ("highest", False)}[keras.backend.backend()]
    before = switches()
    assert before != inside
    with pytest.raises(ValueError, match="inside"), exact_products():
        assert switches() == inside
        raise ValueError("inside")
    assert switches() == before
    with computing_in("strict_float32"):
        assert switches() == inside
    with computing_in("float32"):
        assert switches() == before


@elsewhere
def test_gradients_of_two_batches_make_one_step(smallest, pictures):
    model = smallest((32, 48, 3), dropout=0.0)
    model.compile(create_optimizer(Recipe(accumulate=2, muon=8.0), batches=1))
    kernel = model.get_layer("mask_head").hidden[0].conv.kernel  # by Muon
    seen = [np.array(keras.ops.convert_to_numpy(kernel))]
    for part in (slice(0, 2), slice(2, 4)):
        model.train_on_batch(pictures[0][part], pictures[1][part])
        seen.append(np.array(keras.ops.convert_to_numpy(kernel)))
    assert (seen[0] == seen[1]).all() and (seen[1] != seen[2]).all()


@elsewhere
def test_the_mean_of_the_weights_is_that_of_its_formula(smallest, pictures):
    model = smallest((32, 48, 3), dropout=0.0)
    model.compile(create_optimizer(Recipe(ema=0.75), batches=1))
    model.train_on_batch(*pictures)  # Keras' mean begins with the weights after the first step
    before = values(model)
    model.train_on_batch(*pictures)
    after = values(model)
    with averaged_weights(model):
        mean = values(model)
    trained = {id(variable) for variable in model.trainable_variables}
    for weight, a, b, c in zip(model.weights, before, after, mean, strict=True):
        wanted = 0.75 * a + 0.25 * b if id(weight) in trained else b
        np.testing.assert_allclose(c, wanted, atol=1e-6)


@elsewhere
def test_every_batch_is_trained_at_three_sizes(smallest, pictures):
    model = smallest((32, 48, 3))
    model.compile(create_optimizer(Recipe(), batches=1), scales=(0.75, 1, 1.25))
    model.fit(*pictures, batch_size=4, epochs=1, verbose=0)
    assert int(model.optimizer.iterations) == 3


if __name__ == "__main__":
    (losses, changes), (others, reversed_changes) = train([0, 1, 2, 3]), train([3, 2, 1, 0])
    noise = np.linalg.norm(changes - reversed_changes)
    told = {"loss_noise": np.abs(others / losses - 1).max(), "change_noise": noise}
    np.savez(FIXTURE, losses=losses, changes=changes, **told)
    print(told, np.linalg.norm(changes), file=sys.stderr)
