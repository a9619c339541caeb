"""Several models as one: the mean of their probabilities, and how far they differ."""

from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest
from data.files import save

from transfuse_keras.errors import InputError
from transfuse_keras.files import write_json
from transfuse_keras.inference import predict_files as module
from transfuse_keras.inference.ensemble import average_predictors
from transfuse_keras.inference.predict import choose_flips, predict
from transfuse_keras.inference.predictor import Predictor
from transfuse_keras.tasks import Augmentation, hip, polyp

SIZE = (16, 32)


def of(run, size=SIZE, classes=1):
    return Predictor(size, 3, classes, lambda images: run(images.astype("float32") / 255))


def channel(i):
    """A model that finds what is bright in a channel."""
    return of(lambda images: images[..., i : i + 1])


@pytest.fixture
def image():
    """Red above, blue on the left half."""
    image = np.zeros((*SIZE, 3), "uint8")
    image[:8, :, 0] = 255
    image[:, :16, 2] = 255
    return image


def test_probabilities_are_averaged_and_their_spread_is_the_standard_deviation(image):
    members = [channel(0), channel(1), channel(2)]
    each = np.stack([predict(member, image) for member in members]).astype("float64")
    np.testing.assert_allclose(
        predict(average_predictors(members), image), each.sum(axis=0) / 3, atol=1e-6
    )
    both = predict(average_predictors(members, spread=True), image)
    mean = each.sum(axis=0) / 3
    wanted = np.sqrt(((each - mean) ** 2).sum(axis=0) / 3)
    np.testing.assert_allclose(both, np.concatenate([mean, wanted], axis=-1), atol=1e-6)
    tiled = predict(average_predictors(members, spread=True), np.tile(image, (3, 2, 1)), tile=True)
    np.testing.assert_allclose(tiled[:8, :16], both[:8, :16], atol=1e-6)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Run folders of a task whose models find the red, the green and the blue."""
    models = {}
    for i, name in enumerate("abc"):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        write_json(folder / "config.json", {"schema": 1, "task": asdict(polyp), "recipe": {}})
        models[folder] = channel(i)
    monkeypatch.setattr(module, "load_predictor", lambda path, *_: models[path])
    return models


def test_the_masks_of_several_models_are_those_of_their_mean(runs, image, tmp_path):
    save(tmp_path / "a.png", image)
    for threshold, wanted in (
        (0.3, (image[..., 0] > 0) | (image[..., 2] > 0)),
        (0.6, (image[..., 0] > 0) & (image[..., 2] > 0)),
    ):
        module.predict_files(list(runs), [tmp_path / "a.png"], tmp_path / "out", threshold)
        found = cv2.imread(str(tmp_path / "out" / "a.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(found > 0, wanted)


def test_models_of_other_sizes_are_refused_and_nothing_is_written(runs, image, tmp_path):
    save(tmp_path / "a.png", image)
    first, second, _ = runs
    runs[second] = replace(runs[second], size=(32, 32))
    with pytest.raises(InputError, match=f"{second}: .*32x32.*16x32"):
        module.predict_files([first, second], [tmp_path / "a.png"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_test_time_augmentation_makes_the_flips_of_the_training(caplog):
    def chosen(**flips):
        return choose_flips("tta", replace(hip, augmentation=Augmentation(**flips)))

    assert chosen(flip_horizontal=True) == "h" and chosen(flip_vertical=True) == "v"
    assert chosen(flip_horizontal=True, flip_vertical=True) == "hv"
    assert not caplog.messages
    assert chosen(rotation=10) == "" and "--tta" in caplog.text
    with pytest.raises(InputError, match="--flip"):
        choose_flips("tta", replace(hip, augmentation=None))
    assert choose_flips(None, replace(hip, flips="v")) == "v"
