import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data.files import binary_folder

from transfuse_keras.data.pipeline import dataset
from transfuse_keras.data.white_balance import find_mean_colour
from transfuse_keras.errors import InputError
from transfuse_keras.export.export_model import export_model
from transfuse_keras.inference.predictor import load_predictor
from transfuse_keras.model.load import load_model
from transfuse_keras.model.transfuse import TransFuse
from transfuse_keras.runs.options import parse_settings
from transfuse_keras.runs.settings import read_settings
from transfuse_keras.tasks import Augmentation, prostate, skin
from transfuse_keras.training.fit import create_order, read_batches
from transfuse_keras.training.train import find_run_splits, train_task

ROOT = Path(__file__).parents[2]
SMALL = {"variant": "U-Ti", "image_size": (32, 32), "epochs": 1, "batch_size": 4}


@pytest.fixture
def settings(tmp_path):
    data = binary_folder(tmp_path / "data", [f"p{number}" for number in range(12)])
    return parse_settings({"data": str(data), "recipe": "scratch", **SMALL}, skin)


def test_training_images_have_the_colour_before_they_are_augmented(settings):
    colour, plain = (0.3, 0.25, 0.2), ((0.0,) * 3, (1.0,) * 3)
    never = replace(skin.augmentation, probability={"move": 0, "colour": 0})
    settings = replace(
        settings,
        task=replace(skin, augmentation=never),
        recipe=replace(settings.recipe, white_balance=colour, pen_marks=0),
    )
    splits = find_run_splits(settings)
    order = create_order(settings, splits["train"])
    training, validation, _ = read_batches(settings, splits, plain, order)
    seen = np.asarray(next(iter(training))[0])
    np.testing.assert_allclose(seen.mean(axis=(1, 2)), np.tile(colour, (len(seen), 1)), atol=0.01)
    judged = np.asarray(next(iter(validation))[0])  # the model balances these itself
    assert np.abs(judged.mean(axis=(1, 2)) - colour).max() > 0.05


def test_a_dataset_balances_training_images_alone(tmp_path):
    data = binary_folder(tmp_path, [f"p{number}" for number in range(12)])
    colour, plain = (0.3, 0.25, 0.2), ((0.0,) * 3, (1.0,) * 3)

    def means(split, white_balance):
        batches = dataset(
            *(skin, data, split, (32, 32)),
            augment=False,
            normalization=plain,
            white_balance=white_balance,
        )
        return np.asarray(next(iter(batches))[0]).mean(axis=(1, 2))

    found = means("train", colour)
    np.testing.assert_allclose(found, np.tile(colour, (len(found), 1)), atol=0.01)
    np.testing.assert_array_equal(means("val", colour), means("val", None))


def test_the_lines_of_the_page_run():
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    _, balanced, inked = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(balanced, names := {})
    model = names["model"]
    assert model.white_balance == (0.72, 0.62, 0.57)
    assert next(iter(names["data"]))[0].shape[1:] == model.input_shape[1:]
    exec(inked, names)
    plain = dataset(skin, image_size=(96, 128))
    pairs = zip(names["data"], plain, strict=True)
    changed = [np.any(np.asarray(a) != np.asarray(b)) for (a, _), (b, _) in pairs]
    assert len(changed) == 40 and any(changed)


@pytest.mark.slow
def test_a_run_keeps_the_colour_of_its_training_images(settings, tmp_path):
    run = train_task(settings, tmp_path / "run", export=False, report=False)
    colour = find_mean_colour(find_run_splits(settings)["train"])
    assert read_settings(run / "config.json").recipe.white_balance == colour
    model = load_model(run / "model.keras")
    assert model.white_balance == colour and len(colour) == 3
    export_model(run, ["onnx"])
    image = 2 * np.random.default_rng(0).integers(60, 128, (1, 32, 32, 3)).astype("float32")
    light = image * np.float32([0.5, 0.8, 0.7])
    by_keras, by_onnx = (load_predictor(run / name).run for name in ("model.keras", "model.onnx"))
    np.testing.assert_allclose(by_onnx(light), by_keras(image), atol=1e-5)
    with pytest.raises(InputError, match="white balance"):
        export_model(run, ["saved_model", "pytorch"])
    assert not (run / "saved_model").exists()  # told before anything is written


def test_a_start_that_loses_the_white_balance_is_told(tmp_path, caplog):
    source = TransFuse("U-Ti", (32, 32, 3), white_balance=(0.5, 0.5, 0.5))
    source.save(tmp_path / "model.keras")
    TransFuse("U-Ti", (32, 32, 3), weights=tmp_path / "model.keras")
    assert "was trained with white balance, and this training has none" in caplog.text


def test_training_images_get_pen_marks_and_validation_images_do_not(settings):
    plain, still = ((0.0,) * 3, (1.0,) * 3), replace(skin, augmentation=Augmentation())
    settings = replace(
        settings, task=still, recipe=replace(settings.recipe, white_balance=False, batch_size=64)
    )

    def read(pen_marks):
        asked = replace(settings, recipe=replace(settings.recipe, pen_marks=pen_marks))
        splits = find_run_splits(asked)
        parts = read_batches(asked, splits, plain, create_order(asked, splits["train"]))[:2]
        return [np.asarray(next(iter(part))[0]) for part in parts]

    (drawn, judged), (clean, same) = read(4), read(0)
    changed = (drawn != clean).any(axis=(1, 2, 3))
    assert 0 < changed.sum() < len(changed)
    np.testing.assert_array_equal(judged, same)


def test_a_dataset_draws_no_pen_marks_into_volumes():
    with pytest.raises(InputError, match="pen_marks are for RGB images"):
        dataset(prostate, pen_marks=4)
