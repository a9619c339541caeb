import inspect

import keras
import numpy as np
import pytest
from conftest import SMALLEST, SMALLEST_UNET

from transfuse_keras.layers.upsampling import interpolation_matrix
from transfuse_keras.metrics import DiceScore
from transfuse_keras.model.losses import StructureLoss
from transfuse_keras.model.transfuse import TransFuse
from transfuse_keras.model.unet import UNet
from transfuse_keras.model.variants import Variant

HEADS = {"mask", "transformer", "fusion"}


def batch(input_shape=(32, 48, 3), classes=1, count=2):
    rng = np.random.default_rng(0)
    images = rng.standard_normal((count, *input_shape)).astype("float32")
    masks = (rng.random((count, *input_shape[:2], classes)) > 0.5).astype("float32")
    return images, masks


def test_s_has_the_papers_parameters():
    model = TransFuse("S", (192, 256, 3), classes=1)
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == 26_248_341


@pytest.mark.parametrize(
    ("input_shape", "classes"), [((32, 16, 1), 2), ((48, 32, 2), 1), ((80, 112, 5), 4)]
)
def test_any_size_channels_and_classes(smallest, input_shape, classes):
    images, _ = batch(input_shape)
    outputs = smallest(input_shape, classes)(images)
    assert set(outputs) == HEADS
    for logits in outputs.values():
        assert logits.shape == (2, *input_shape[:2], classes)
        assert keras.backend.standardize_dtype(logits.dtype) == "float32"


@pytest.mark.slow
def test_saves_and_loads_without_custom_objects(smallest, tmp_path):
    images, masks = batch()
    model = smallest()
    model.compile(keras.optimizers.Adam(1e-3), run_eagerly=True)
    model.fit(images, masks, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is TransFuse and loaded.variant == SMALLEST
    assert loaded.get_config() == model.get_config()
    constructor = set(inspect.signature(TransFuse.__init__).parameters) - {"self", "_blocks"}
    assert set(model.get_config()) == constructor
    wanted = model.predict(images, verbose=0)
    for head, logits in loaded.predict(images, verbose=0).items():
        np.testing.assert_allclose(logits, wanted[head], atol=1e-6)
    assert loaded.evaluate(images, masks, verbose=0) == pytest.approx(
        model.evaluate(images, masks, verbose=0), rel=1e-6
    )
    assert loaded.optimizer.iterations == 1


def test_fit_weighs_the_three_heads(smallest):
    images, masks = batch()
    model = smallest(dropout=0.0)
    outputs = model(images, training=True)
    parts = {head: float(StructureLoss()(masks, logits)) for head, logits in outputs.items()}
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    logs = model.fit(images, masks, verbose=0).history
    for head, value in parts.items():
        assert logs[f"{head}_loss"][0] == pytest.approx(value, rel=1e-4)
    total = 0.5 * parts["mask"] + 0.3 * parts["transformer"] + 0.2 * parts["fusion"]
    assert logs["loss"][0] == pytest.approx(total, rel=1e-4)


def test_what_the_user_compiles_with_is_honoured(smallest):
    images, masks = batch()
    model = smallest(dropout=0.0)
    crossentropy = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(
        keras.optimizers.SGD(0.0),
        loss=dict.fromkeys(HEADS, crossentropy),
        loss_weights={"mask": 1.0, "transformer": 0.0, "fusion": 2.0},
        metrics=[keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy")],
        run_eagerly=True,
    )
    targets = {"mask": masks, "transformer": masks, "fusion": 1 - masks}
    logs = model.fit(images, targets, verbose=0).history
    outputs = model(images, training=True)
    parts = {head: float(crossentropy(targets[head], outputs[head])) for head in HEADS}
    assert logs["loss"][0] == pytest.approx(parts["mask"] + 2 * parts["fusion"], rel=1e-4)
    accuracy = np.mean((np.asarray(outputs["mask"]) > 0) == (masks > 0))
    assert logs["mask_accuracy"][0] == pytest.approx(accuracy, abs=1e-3)


@pytest.mark.slow
def test_resized_shares_variables_and_trains_the_positions(smallest, tmp_path):
    images, masks = batch((64, 32, 3))
    model = smallest((32, 48, 3), dropout=0.0)
    resized = model.resized((64, 32))
    assert {id(v) for v in resized.trainable_variables} == {
        id(v) for v in model.trainable_variables
    }
    positions = model.vit.get_layer("patch_embed").positions
    assert positions.shape == (1, 2, 3, 192)
    before = np.array(positions)
    resized.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    resized.fit(images, masks, verbose=0)
    assert np.abs(np.array(positions) - before).max() > 0

    # a model built for that size, given the interpolated positions, computes the same
    fresh = smallest((64, 32, 3), dropout=0.0)
    for ours, theirs in zip(fresh.weights, resized.weights, strict=True):
        if ours.path.endswith("positions"):
            rows, columns = interpolation_matrix(2, 4), interpolation_matrix(3, 2)
            theirs = np.einsum("or,pc,brcd->bopd", rows, columns, np.array(theirs))
        ours.assign(np.array(theirs))  # JAX would let both have one array
    wanted = fresh.predict(images, verbose=0)["mask"]
    np.testing.assert_allclose(resized.predict(images, verbose=0)["mask"], wanted, atol=1e-4)

    resized.save(tmp_path / "resized.keras")
    loaded = keras.saving.load_model(tmp_path / "resized.keras")
    wanted = resized.predict(images, verbose=0)["mask"]
    np.testing.assert_allclose(loaded.predict(images, verbose=0)["mask"], wanted, atol=1e-5)
    same = model.resized((32, 48))
    images, _ = batch()
    np.testing.assert_allclose(
        same.predict(images, verbose=0)["mask"], model.predict(images, verbose=0)["mask"], atol=1e-6
    )


@pytest.mark.release
@pytest.mark.parametrize(
    ("cnn", "vit"),
    [
        ("res2net50_26w_4s", "deit_tiny_patch16_224"),
        ("resnetv2_50x1_bit", "vit_base_patch16_224"),
    ],
)
def test_the_cnns_of_l_train_save_and_resize(cnn, vit, tmp_path):
    images, masks = batch((32, 32, 3))
    model = TransFuse(Variant(cnn, vit, 1, (16, 8, 8)), (32, 32, 3))
    kernel = model.cnn.trainable_variables[0]
    before = np.array(kernel)
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    model.fit(images, masks, verbose=0)
    assert np.abs(np.array(kernel) - before).max() > 0
    resized = model.resized((48, 32))
    assert {id(v) for v in resized.weights} == {id(v) for v in model.weights}
    resized.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    images, _ = batch((48, 32, 3))
    wanted = resized.predict(images, verbose=0)["mask"]
    np.testing.assert_allclose(loaded.predict(images, verbose=0)["mask"], wanted, atol=1e-6)


def test_mask_model_leaves_the_other_heads_out(smallest):
    images, _ = batch()
    model = smallest()
    alone = model.mask_model
    np.testing.assert_allclose(alone(images), model(images)["mask"], atol=1e-6)
    names = {layer.name for layer in alone.layers}
    assert "mask_head" in names
    assert not names & {"transformer_head", "fusion_head"}


def test_a_frozen_branch_keeps_its_weights(smallest):
    images, masks = batch()
    model = smallest()
    model.cnn.trainable = False
    frozen = [np.array(v) for v in model.cnn.weights]
    moving = np.array(model.vit.weights[0])
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    model.fit(images, masks, verbose=0)
    for before, variable in zip(frozen, model.cnn.weights, strict=True):
        np.testing.assert_array_equal(before, variable)
    assert np.abs(moving - np.array(model.vit.weights[0])).max() > 0


def test_normalization_follows_branches_and_channels(smallest):
    assert smallest().normalization == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    mean, std = smallest((32, 32, 1)).normalization
    assert mean == pytest.approx((0.449,)) and std == pytest.approx((0.226,))
    half = Variant("resnetv2_50x1_bit", "vit_base_patch16_224", 1, (16, 8, 8))
    assert TransFuse(half, (32, 32, 3)).normalization == ((0.5,) * 3, (0.5,) * 3)


def test_branches_of_different_normalisation_are_refused():
    mixed = Variant("resnet18", "vit_base_patch16_224", 1, (16, 8, 8))
    with pytest.raises(ValueError, match=r"resnet18 mean \(0.485.*vit_base.* mean \(0.5, 0.5"):
        TransFuse(mixed, (32, 32, 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "XL"}, "variant 'XL'.* Ti, "),
        ({"input_shape": (100, 96, 3)}, "100x96.*16; 96 is the nearest"),
        ({"input_shape": (8192, 8208, 3)}, "8192x8208: .*at most 8192"),
        ({"input_shape": (96, 96)}, "height, width, channels"),
        ({"input_shape": (None, 96, 3)}, "height, width, channels"),
        ({"input_shape": (96.0, 96, 3)}, "height, width, channels"),
        ({"position_grid": 3}, "position_grid must be"),
        ({"normalization": 5}, "normalization is .mean, std.*each of the 3 channels.* not 5"),
        ({"normalization": (0.5, 0.2)}, "normalization is"),
        ({"normalization": ((0.5,) * 3, (0.2,))}, "normalization is"),
        ({"normalization": ((0.5,) * 3, (0.2, 0.2, 0))}, "std above 0"),
        ({"white_balance": (0.5,)}, "white_balance is .*each of the 3 channels"),
        ({"classes": 0}, "classes must be"),
        ({"classes": "1"}, "classes must be"),
        ({"variant": 3}, "Unknown variant 3"),
    ],
)
def test_unusable_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        TransFuse(**{"variant": "Ti", **arguments})


def test_a_size_that_is_none_is_named(smallest):
    model = smallest()
    for size in (64, (64,), (64, None), "64"):
        with pytest.raises(ValueError, match="size must be .height, width., not"):
            model.resized(size)
    assert hash(Variant("resnet18", None, 0, [32, 16, 8])) == hash(
        Variant("resnet18", None, 0, (32, 16, 8))
    )
    with pytest.raises(ValueError, match="three numbers from 1 to 4096, not 64"):
        UNet("resnet18", (32, 32, 3), widths=64)


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() == "torch", reason="PyTorch traces nothing")
def test_a_training_step_is_traced_once(monkeypatch):
    traces = []
    step = keras.Model.train_step
    monkeypatch.setattr(keras.Model, "train_step", lambda *given: traces.append(1) or step(*given))
    model = TransFuse(SMALLEST_UNET, (32, 32, 3))
    model.compile(metrics=[DiceScore()])
    model.fit(*batch((32, 32, 3)), epochs=2, batch_size=1, verbose=0)
    assert len(traces) == 1
