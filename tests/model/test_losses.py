import keras
import numpy as np
import pytest
from conftest import FIXTURES
from keras import ops
from parity import gradient, relative_error

from transfuse_keras.errors import InputError
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
    found = gradient(lambda logits: StructureLoss()(GOLDEN["mask"], logits), GOLDEN["logits"])
    assert relative_error(found, GOLDEN["grad"]) < 1e-5


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


def test_classes_have_weights_in_the_mean_over_them():
    wanted = GOLDEN["wbce"] + GOLDEN["wiou"]
    weights = np.arange(1.0, wanted.shape[1] + 1)
    found = StructureLoss(reduction=None, class_weights=weights.tolist())(
        GOLDEN["mask"], GOLDEN["logits"]
    )
    assert relative_error(found, np.average(wanted, axis=1, weights=weights)) < 1e-6
    ones = np.ones(GOLDEN["mask"].shape[:3], "float32")  # the way of pixels with weights
    loss = StructureLoss(reduction=None, class_weights=weights.tolist())
    assert relative_error(loss(GOLDEN["mask"], GOLDEN["logits"], ones), found) < 1e-3


@pytest.mark.parametrize("weighted", [False, True])
def test_the_focal_term_is_that_of_lin(weighted):
    mask, z = (GOLDEN[name].astype("float64") for name in ("mask", "logits"))
    weight = np.asarray(boundary_weight(ops.array(GOLDEN["mask"])), "float64")
    p = 1 / (1 + np.exp(-z))
    right = np.where(mask > 0, p, 1 - p)
    focal = -((1 - right) ** 2) * np.log(right)
    wbce = (weight * focal).sum((1, 2)) / weight.sum((1, 2))
    pixels = [np.ones(mask.shape[:3], "float32")] if weighted else []
    found = StructureLoss(reduction=None, focal=2.0)(GOLDEN["mask"], GOLDEN["logits"], *pixels)
    plain = StructureLoss(reduction=None)(GOLDEN["mask"], GOLDEN["logits"], *pixels)
    added = (wbce - GOLDEN["wbce"]).mean(axis=1)
    np.testing.assert_allclose(np.asarray(found) - np.asarray(plain), added, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "terms",
    [
        *({"class_weights": x} for x in ("ab", 1.0, [], [0, 0], [1, -1], [1, np.nan], [[1, 2]])),
        *({"focal": x} for x in (-1, "2", np.nan, None)),
    ],
)
def test_terms_that_are_no_numbers_are_refused(terms):
    with pytest.raises(InputError, match=f"^{next(iter(terms))} .*from 0 on"):
        StructureLoss(**terms)


def test_terms_are_saved_with_the_loss():
    loss = StructureLoss(class_weights=(1.0, 4.0), focal=2.0)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert list(again.class_weights) == [1.0, 4.0] and again.focal == 2.0
