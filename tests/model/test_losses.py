import keras
import numpy as np
import pytest
from conftest import FIXTURES
from keras import ops
from parity import relative_error

from transfuse_keras.model.losses import StructureLoss, boundary_weight

GOLDEN = {
    name: array.transpose(0, 2, 3, 1).astype("float32") if array.ndim == 4 else array
    for name, array in np.load(FIXTURES / "loss_seed1.npz").items()
}


def test_weights_are_the_authors():
    weight = boundary_weight(ops.array(GOLDEN["mask"]))
    assert relative_error(weight, GOLDEN["weight"]) < 1e-6


def test_value_is_the_authors_overall_and_per_image():
    loss = StructureLoss()(GOLDEN["mask"], GOLDEN["logits"])
    assert abs(float(loss) / GOLDEN["loss"] - 1) < 1e-6
    per_image = StructureLoss(reduction=None)(GOLDEN["mask"], GOLDEN["logits"])
    wanted = (GOLDEN["wbce"] + GOLDEN["wiou"]).mean(axis=1)
    assert relative_error(per_image, wanted) < 1e-6


def test_gradient_is_the_authors():
    import tensorflow as tf

    logits = tf.constant(GOLDEN["logits"])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = StructureLoss()(GOLDEN["mask"], logits)
    assert relative_error(tape.gradient(loss, logits), GOLDEN["grad"]) < 1e-5


def test_half_precision_logits_are_scored_in_float32():
    logits = ops.array(GOLDEN["logits"], "float16")
    loss = StructureLoss()(GOLDEN["mask"], logits)
    wanted = StructureLoss()(GOLDEN["mask"], ops.cast(logits, "float32"))
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    assert float(loss) == float(wanted)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_sums_over_an_image_are_float32_under_every_policy(policy):
    """The weights of 320 x 320 pixels add up to more than float16 holds, and in bfloat16 a sum
    of ones stops at 256."""
    rng = np.random.default_rng(0)
    mask = (rng.random((2, 320, 320, 1)) > 0.5).astype("float32")
    half = keras.DTypePolicy(policy).compute_dtype
    logits = ops.cast(rng.standard_normal(mask.shape), half)
    keras.config.set_dtype_policy(policy)
    try:
        found = float(StructureLoss()(ops.cast(mask, half), logits))
    finally:
        keras.config.set_dtype_policy("float32")
    z = np.asarray(ops.cast(logits, "float64"))
    weight = np.asarray(boundary_weight(ops.array(mask)), "float64")
    probability = 1 / (1 + np.exp(-z))

    def total(x):
        return (weight * x).sum((1, 2))

    wbce = total(np.log1p(np.exp(z)) - z * mask) / weight.sum((1, 2))
    intersection = total(probability * mask)
    wiou = 1 - (intersection + 1) / (total(probability + mask) - intersection + 1)
    assert weight.sum((1, 2)).min() > 65504
    assert abs(found / (wbce + wiou).mean() - 1) < 1e-5


def test_right_and_wrong_certainty_at_the_extremes():
    mask = np.zeros((1, 32, 32, 1), "float32")
    mask[:, 8:24, 8:24] = 1
    certain = 200 * (2 * mask - 1)
    assert float(StructureLoss()(mask, certain)) < 1e-6
    wrong = float(StructureLoss()(mask, -certain))
    assert 200 < wrong < 202  # the cross entropy of 200 wrong nats and an IoU loss of about 1
    assert float(StructureLoss()(0 * mask, 0 * mask - 200)) < 1e-6  # empty and predicted empty


def test_saves_and_loads_by_name():
    config = keras.saving.serialize_keras_object(StructureLoss())
    loss = keras.saving.deserialize_keras_object(config)
    assert isinstance(loss, StructureLoss)
