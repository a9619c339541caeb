"""One file that averages several models and mirror images is what predicting with each gives."""

import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import SMALLEST_UNET
from lively import lively, phantom_run, pictures

from transfuse_keras.cli import main
from transfuse_keras.errors import InputError
from transfuse_keras.export.averaging import Averaged, combine
from transfuse_keras.export.serving import serving_model
from transfuse_keras.files import write_json
from transfuse_keras.inference.predict import average_flips
from transfuse_keras.inference.predictor import as_predictor, load_predictor
from transfuse_keras.runs.metadata import read_metadata
from transfuse_keras.tasks import hip

SIZE = (32, 48)


def shaken(seed):
    """A model of its own weights."""
    model = lively(SMALLEST_UNET, (*SIZE, 3), len(hip.classes))
    rng = np.random.default_rng(seed)
    for weights in model.trainable_variables:
        weights.assign(weights + 0.01 * rng.standard_normal(weights.shape).astype("float32"))
    return model


@pytest.fixture(scope="module")
def models():
    return shaken(1), shaken(2)


@pytest.fixture(scope="module")
def wanted(models):
    """The mean over two models and mirror images with left and right exchanged, and its images."""
    images = pictures(3, SIZE)
    maps = []
    for model in models:
        run = as_predictor(model).run
        back = run(np.ascontiguousarray(images[:, :, ::-1]))[:, :, ::-1]
        maps += [run(images), back[..., [0, 2, 1]]]
    return images, np.mean(maps, axis=0)


@pytest.mark.slow
def test_the_graph_is_the_mean_of_all(models, wanted):
    images, maps = wanted
    model = Averaged(models, "h", hip.mirrored_classes)
    np.testing.assert_allclose(model.as_predictor().run(images), maps, atol=1e-5)
    graph = serving_model(model)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(graph(images)), maps, atol=2e-4)
    both = Averaged(models[:1], "hv", hip.mirrored_classes)
    own = average_flips(as_predictor(models[0]), "hv", hip.mirrored_classes)
    found = keras.ops.convert_to_numpy(serving_model(both)(images))
    np.testing.assert_allclose(found, own.run(images), atol=2e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": 2}, "b: has another classes"),
        ({"normalization": ((0.4,), (0.2,))}, "b: has another normalization"),
        ({"input_shape": (None, 64, 96, 3)}, "b: takes images of 64x96"),
    ],
)
def test_models_that_are_not_alike_are_refused(change, words):
    same = {"classes": 3, "normalization": ((0.5,), (0.2,)), "input_shape": (None, 32, 48, 3)}
    one, other = SimpleNamespace(**same), SimpleNamespace(**(same | change))
    assert combine(["a"], [one], "", None) is one
    assert combine(["a", "b"], [one, one], "", None).models == (one, one)
    with pytest.raises(InputError, match=words):
        combine(["a", "b"], [one, other], "", None)


@pytest.mark.slow
def test_the_folds_of_a_cross_validation_become_one_file(models, wanted, tmp_path, capsys):
    folder = tmp_path / "folds"
    for k, model in enumerate(models):
        run = phantom_run(folder / f"fold-{k}", model, hip)
        thresholds = dict(zip(hip.classes, (0.4 + 0.2 * k, 0.5, 0.5), strict=True))
        write_json(run / "threshold.json", {"thresholds": thresholds})
        write_json(run / "metrics.json", {"n": 0, "mean": {}, "protocol": "none"})
    write_json(folder / "cross-validation.json", {"folds": 2})
    command = ["export", "--model", str(folder), "--format", "litert", "--tta"]
    assert main(command) == 0
    images, maps = wanted
    found = load_predictor(folder / "model.tflite").run(images)
    np.testing.assert_allclose(found, maps, atol=1e-4)
    task, thresholds = read_metadata(folder / "model.tflite")
    assert task.flips == "" and thresholds == pytest.approx((0.5, 0.5, 0.5))
    about = json.loads((folder / "model.tflite.json").read_text())
    assert about["averaged"] == "2 models and mirror images (h)"
    capsys.readouterr()
    for words in (
        [str(folder / "fold-0"), str(folder / "fold-1")],  # where to?
        [str(folder / "fold-0"), str(folder / "fold-1"), "--out", str(folder / "fold-0" / "all")],
    ):
        assert main(["export", "--format", "litert", "--model", *words]) == 2
        assert "--out" in capsys.readouterr().err
