"""What `fit` and the loss take as masks: label maps, weights, and what they refuse."""

from importlib.util import find_spec

import keras
import numpy as np
import pytest

from transfuse_keras.errors import InputError
from transfuse_keras.metrics import DiceScore
from transfuse_keras.model.losses import StructureLoss

SIZE = (32, 48)


@pytest.fixture(scope="module")
def data():
    """Images, a label map (N, H, W) of 0 ... 2, its masks (N, H, W, 2), logits."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((2, *SIZE, 3)).astype("float32")
    labels = np.zeros((2, *SIZE), "uint8")
    labels[:, 4:20, 5:20], labels[:, 22:30, 10:40] = 1, 2
    masks = (labels[..., None] == [1, 2]).astype("float32")
    return images, labels, masks, rng.standard_normal(masks.shape).astype("float32")


def by_numpy(mask, logits, pixel_weight):
    """The paper's loss of every image and class in NumPy, with weights (N, H, W) of pixels."""
    sw = pixel_weight[..., None].astype("float64")
    mask, z = mask * (sw > 0), logits.astype("float64")
    padded = np.pad(mask, ((0, 0), (15, 15), (15, 15), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (31, 31), axis=(1, 2))
    weight = (1 + 5 * np.abs(windows.mean(axis=(-1, -2)) - mask)) * sw

    def total(x):
        return (weight * x).sum((1, 2))

    share = sw.mean(axis=(1, 2))
    p = 1 / (1 + np.exp(-z))
    with np.errstate(invalid="ignore"):
        wbce = total(np.log1p(np.exp(z)) - z * mask) / weight.sum((1, 2))
        intersection = total(p * mask)
        wiou = 1 - (intersection + share) / (total(p + mask) - intersection + share)
    return np.where(share > 0, share * (wbce + wiou), 0)


def test_label_maps_and_masks_have_one_loss(data):
    _, labels, masks, logits = data
    wanted = float(StructureLoss()(masks, logits))
    for target in (labels, labels[..., None], labels.astype("float32")):
        assert float(StructureLoss()(target, logits)) == wanted
    one = float(StructureLoss()(masks[..., :1], logits[..., :1]))
    assert float(StructureLoss()(masks[..., 0], logits[..., :1])) == one


def test_weights_of_pixels_against_numpy(data):
    _, _, masks, logits = data
    rng = np.random.default_rng(1)
    ones, ragged = np.ones((2, *SIZE)), rng.uniform(0, 3, (2, *SIZE))
    ragged[:, 10:25, 15:30] = 0
    ragged[1] = 0  # an image that counts nothing
    for weight in (ones, 2 * ones, ragged):
        found = float(StructureLoss()(masks, logits, weight.astype("float32")))
        assert found == pytest.approx(by_numpy(masks, logits, weight).mean(), rel=1e-5)
    plain = float(StructureLoss()(masks, logits))
    assert float(StructureLoss()(masks, logits, ones)) == pytest.approx(plain, rel=1e-5)
    assert float(StructureLoss()(masks, logits, 2 * ones)) == pytest.approx(2 * plain, rel=1e-5)


def test_pixels_of_weight_0_change_nothing(data):
    _, _, masks, logits = data
    weight = np.ones((2, *SIZE), "float32")
    weight[:, 8:26, 8:30] = 0
    hidden = weight == 0
    other_masks, other_logits = masks.copy(), logits.copy()
    other_masks[hidden], other_logits[hidden] = 1 - masks[hidden], 9
    wanted = float(StructureLoss()(masks, logits, weight))
    assert float(StructureLoss()(other_masks, other_logits, weight)) == wanted
    score = DiceScore(2)
    score.update_state(masks, logits, weight)
    kept = (masks[~hidden].reshape(2, -1, 2), logits[~hidden].reshape(2, -1, 2) >= 0)
    dices = [
        2 * (a * b).sum() / (a.sum() + b.sum())
        for a, b in zip(*[np.moveaxis(x, -1, 1).reshape(4, -1) for x in kept], strict=True)
    ]
    assert float(score.result()) == pytest.approx(np.mean(dices), rel=1e-5)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (np.full((2, *SIZE, 2), 255), r"\(2, 32, 48, 2\).* 0? ?.*255"),
        (np.full((2, *SIZE), 3), r"\(2, 32, 48\).*3"),
        (np.full((2, *SIZE), 0.5), r"\(2, 32, 48\).*0.5"),
        (np.full((2, *SIZE), 1.0000001, "float32"), r"\(2, 32, 48\).*1.0000001.*round"),
        (np.full((2, *SIZE, 2), -1.0), "-1"),
        (np.full((2, *SIZE, 2), np.nan), "nan"),
        (np.zeros((2, *SIZE, 3)), r"\(2, 32, 48, 3\)"),
        (np.zeros((2, 16, 16, 2)), r"\(2, 16, 16, 2\)"),
    ],
)
def test_other_shapes_and_values_are_refused(data, target, said):
    with pytest.raises(InputError, match=said):
        StructureLoss()(target, data[3])


def test_a_model_takes_and_refuses_masks_wherever_they_come_from(data, smallest):
    images, labels, masks, _ = data
    model = smallest(classes=2, dropout=0.0)
    metrics = [keras.metrics.BinaryAccuracy(name=name) for name in "abc"]
    model.compile("sgd", loss_weights=[0.7, 0.2, 0.1], metrics=metrics, run_eagerly=True)
    start = model.get_weights()

    def loss_of(**arguments):
        model.set_weights(start)
        return model.train_on_batch(images, return_dict=True, **arguments)

    logs = loss_of(y=masks)
    by_name = {"mask": 0.7, "transformer": 0.2, "fusion": 0.1}
    wanted = sum(weight * logs[f"{head}_loss"] for head, weight in by_name.items())
    assert logs["loss"] == pytest.approx(wanted, rel=1e-5)
    assert {key for key in logs if key[-2:] in ("_a", "_b", "_c")} == {"mask_a", "mask_b", "mask_c"}
    assert loss_of(y=labels)["loss"] == pytest.approx(logs["loss"], rel=1e-6)

    by_class = np.choose(labels, [0.5, 1, 3]).astype("float32")
    weighed = loss_of(y=labels, sample_weight=by_class)
    model.set_weights(start)
    found = loss_of(y=masks, class_weight={0: 0.5, 2: 3})
    assert found["loss"] == pytest.approx(weighed["loss"], rel=1e-5)
    model.set_weights(start)
    outputs = model(images, training=True)
    head = by_numpy(masks, np.asarray(outputs["fusion"]), by_class).mean()
    assert weighed["fusion_loss"] == pytest.approx(head, rel=1e-3)

    wrong = (255 * masks).astype("float32")
    sources = [
        {"x": images, "y": wrong},
        {"x": iter_once((images, wrong)), "steps_per_epoch": 1},
        {"x": images, "y": masks, "validation_data": (images, wrong)},
    ]
    if find_spec("tensorflow"):
        import tensorflow as tf

        batches = tf.data.Dataset.from_tensor_slices((images, wrong)).batch(2)
        right = tf.data.Dataset.from_tensor_slices((images, labels)).batch(2)
        model.fit(right, validation_data=(images, labels), verbose=0)
        sources.append({"x": batches})
        with pytest.raises(InputError, match="255"):
            model.evaluate(batches, verbose=0)
    before = [*model.get_weights(), *map(np.array, model.optimizer.variables)]
    for arguments in sources:
        with pytest.raises(InputError, match=r"\(2, 32, 48, 2\).*from 0 to 255"):
            model.fit(**arguments, verbose=0)
    after = [*model.get_weights(), *map(np.array, model.optimizer.variables)]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def iter_once(batch):
    yield batch


def test_masks_and_label_maps_may_follow_each_other(data):
    import transfuse_keras as tk

    images, labels, masks, _ = data
    model = tk.TransFuse("U-Ti", (*SIZE, 3), classes=2)
    model.compile()
    wanted = model.evaluate(images, masks, verbose=0)
    for target in (labels[..., None], masks, labels, labels[..., None]):
        np.testing.assert_allclose(model.evaluate(images, target, verbose=0), wanted, rtol=1e-5)


def test_class_weights_of_a_fit_do_not_weigh_what_it_validates_on(data):
    import transfuse_keras as tk

    images, _, masks, _ = data
    options = {"class_weight": {1: 50.0}, "verbose": 0, "batch_size": 1}
    found = []
    for x, y, validation in (
        (images, masks, {"validation_split": 0.5}),
        (images[:1], masks[:1], {"validation_data": (images[1:], masks[1:])}),
    ):
        keras.utils.set_random_seed(0)
        model = tk.TransFuse("U-Ti", (*SIZE, 3), classes=2)
        model.compile(keras.optimizers.SGD(0.0))
        found.append(model.fit(x, y, **validation, **options).history["val_loss"])
    np.testing.assert_allclose(*found, rtol=1e-4)


def test_images_that_are_not_normalised_are_refused(data):
    import transfuse_keras as tk

    images, _, masks, _ = data
    model = tk.TransFuse("U-Ti", (*SIZE, 3), classes=2)
    model.compile()
    raw = np.random.default_rng(0).integers(0, 256, images.shape).astype("uint8")
    for wrong in (raw, raw.astype("float32")):
        with pytest.raises(InputError, match=r"normalised, \(images / 255 - mean\) / std"):
            model.fit(wrong, masks, verbose=0)
    mean, std = model.normalization
    good = ((raw / 255 - mean) / std).astype("float32")
    model.evaluate(good, masks, verbose=0)
    with pytest.raises(InputError, match="must be normalised"):
        model.fit(good, masks, validation_data=(raw, masks), verbose=0)


@pytest.mark.parametrize("weights", [(0, 0), (-1, 2), ()])
def test_class_weights_that_are_none_are_refused(weights):
    with pytest.raises(InputError, match="give numbers from 0 on"):
        StructureLoss(class_weights=weights)


def test_a_class_weight_is_given_for_each_class(data):
    _, _, masks, logits = data
    with pytest.raises(InputError, match="give one for each of the 2 classes"):
        StructureLoss(class_weights=(2.0,))(masks, logits)
