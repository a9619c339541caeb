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
from transfuse_keras.weights import official_state

FIXTURE = Path(__file__).parent / "fixtures" / "five_steps_Ti.npz"
SHAPE, STEPS = (64, 64, 3), 5


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
    np.testing.assert_allclose(losses, stored["losses"], rtol=3 * stored["loss_noise"])
    difference = np.linalg.norm(changes - stored["changes"])
    assert difference < 3 * stored["change_noise"], difference / stored["change_noise"]
    assert stored["change_noise"] < 0.1 * np.linalg.norm(stored["changes"])


if __name__ == "__main__":
    (losses, changes), (others, reversed_changes) = train([0, 1, 2, 3]), train([3, 2, 1, 0])
    noise = np.linalg.norm(changes - reversed_changes)
    told = {"loss_noise": np.abs(others / losses - 1).max(), "change_noise": noise}
    np.savez(FIXTURE, losses=losses, changes=changes, **told)
    print(told, np.linalg.norm(changes), file=sys.stderr)
