import json
import sys
from dataclasses import asdict, replace

import keras
import numpy as np
import openvino
import pytest
from conftest import SMALLEST_UNET
from openvino import opset13 as opset
from scipy.special import expit

from transfuse_keras.errors import InputError
from transfuse_keras.export.litert import export_litert
from transfuse_keras.export.saved_model import export_saved_model
from transfuse_keras.files import write_json
from transfuse_keras.inference.predictor import as_predictor, load_predictor
from transfuse_keras.model.transfuse import TransFuse
from transfuse_keras.runs.folder import find_run, run_task, run_thresholds
from transfuse_keras.tasks import TASKS, hip, prostate


def random_images(count, channels=3):
    return np.random.default_rng(0).integers(0, 256, (count, 32, 48, channels), dtype="uint8")


def test_a_transfuse_is_normalised_and_gives_probabilities(smallest):
    model = smallest(classes=2)
    predictor = as_predictor(model)
    assert (predictor.size, predictor.channels, predictor.classes) == ((32, 48), 3, 2)
    assert as_predictor(predictor) is predictor
    images = random_images(3)
    mean, std = (np.array(values) for values in model.normalization)
    logits = model(((images / 255 - mean) / std).astype("float32"))["mask"]
    found = predictor.run(images)
    assert found.shape == (3, 32, 48, 2) and found.dtype == np.float32
    np.testing.assert_allclose(found, expit(np.asarray(logits)), atol=1e-5)
    np.testing.assert_allclose(predictor.run(images.astype("float32")), found, atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow traces")
def test_prediction_is_traced_once_for_batches_of_any_size():
    model = TransFuse(SMALLEST_UNET, (32, 32, 3))
    model.mask_model.jit_compile = False  # as it is on a CPU
    predictor = as_predictor(model)
    for count in (1, 8, 3):
        assert predictor.run(np.zeros((count, 32, 32, 3), "uint8")).shape == (count, 32, 32, 1)
    assert model.mask_model.predict_function.experimental_get_tracing_count() == 1


def test_z_scored_slices_stay_as_they_are(smallest):
    model = smallest((32, 48, 2), normalization=prostate.normalization)
    slices = np.random.default_rng(0).standard_normal((2, 32, 48, 2)).astype("float32")
    wanted = expit(np.asarray(model(slices)["mask"]))
    np.testing.assert_allclose(as_predictor(model).run(slices), wanted, atol=1e-5)


@pytest.mark.slow
def test_a_model_is_the_same_in_all_four_kinds(tmp_path):
    model = TransFuse(SMALLEST_UNET, (32, 48, 3), 2)
    model.save(tmp_path / "model.keras")
    export_saved_model(model, tmp_path / "saved_model")
    export_litert(model, tmp_path / "model.tflite")
    images = random_images(3)
    wanted = as_predictor(model).run(images)
    for path in ("", "model.keras", "saved_model", "model.tflite"):
        predictor = load_predictor(tmp_path / path)
        assert (predictor.size, predictor.channels, predictor.classes) == ((32, 48), 3, 2)
        for given in (images, images.astype("float32")):
            found = predictor.run(given)
            assert found.shape == wanted.shape and found.dtype == np.float32
            np.testing.assert_allclose(found, wanted, atol=1e-5)


def another_saved_model(folder):
    image = keras.Input((8,))
    keras.Model(image, keras.layers.Dense(2)(image)).export(
        folder / "other", format="tf_saved_model", verbose=False
    )
    return folder / "other"


def damaged_saved_model(folder):
    (folder / "damaged").mkdir()
    (folder / "damaged" / "saved_model.pb").write_bytes(b"no protocol buffer")
    return folder / "damaged"


def damaged_file(name):
    def write(folder):
        (folder / name).write_bytes(b"no model")
        return folder / name

    return write


def openvino_model(name, rank=4, step=1):
    """A graph that is no segmentation: of another rank, or with a map smaller than the image."""

    def write(folder):
        image = opset.parameter([-1, 32, 48, 3][:rank], np.float32, "image")
        stop = [1, 32, 48, 3][:rank]
        maps = opset.strided_slice(image, [0] * rank, stop, [1, step, *[1] * (rank - 2)], [], [])
        openvino.save_model(openvino.Model([maps], [image]), folder / name)
        return folder / name

    return write


def another_keras_model(folder):
    keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)]).save(folder / "other.keras")
    return folder / "other.keras"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder, "no such model"),
        (lambda folder: folder / "absent.keras", "no such model"),
        (lambda folder: folder / "absent.tflite", "no such model"),
        (damaged_file("model.keras"), "damaged"),
        (damaged_file("model.tflite"), "damaged"),
        (damaged_file("model.h5"), "no such model"),
        (damaged_saved_model, "damaged"),
        (another_saved_model, "not an exported"),
        (damaged_file("model.onnx"), "damaged"),
        (damaged_file("model.xml"), "damaged"),
        (openvino_model("flat.xml", rank=2), "not an exported"),
        (openvino_model("half.xml", step=2), r"\(1, 16, 48, 3\) .*\(32, 48\)"),
        (another_keras_model, "a Sequential, not"),
    ],
)
def test_what_is_no_model_is_told_in_one_sentence(make, message, tmp_path):
    path = make(tmp_path)
    with pytest.raises(InputError, match=message) as error:
        load_predictor(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize(("suffix", "module"), [(".onnx", "onnxruntime"), (".xml", "openvino")])
def test_a_missing_package_is_told_with_what_installs_it(suffix, module, tmp_path, monkeypatch):
    path = tmp_path / f"model{suffix}"
    path.touch()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError) as error:
        load_predictor(path)
    said = str(error.value)
    assert said.startswith(f"{path}: needs {module}") and "'transfuse-keras[" in said


def test_an_exported_model_is_run_once_to_see_what_it_gives(tmp_path):
    """OpenVINO and ONNX leave the size of maps open: their number is known from a run."""
    predictor = load_predictor(openvino_model("model.xml")(tmp_path))
    assert (predictor.size, predictor.channels, predictor.classes) == ((32, 48), 3, 3)
    images = random_images(2)
    np.testing.assert_array_equal(predictor.run(images), images)


def test_the_run_is_at_most_two_folders_up(tmp_path, monkeypatch):
    run = tmp_path / "runs" / "hip"
    (run / "checkpoints" / "deep").mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({"schema": 1, "task": {}}))
    inside = (".", "model.keras", "saved_model", "checkpoints/best.keras")
    assert {find_run(run / path) for path in inside} == {run}
    assert find_run(run / "checkpoints" / "deep" / "best.keras") is None
    assert find_run(tmp_path) is None
    monkeypatch.chdir(run / "checkpoints")
    assert find_run("best.keras") == run


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_task_comes_back_from_its_run(task, tmp_path):
    write_json(tmp_path / "config.json", {"task": asdict(task), "seed": 0})
    assert run_task(tmp_path) == task
    without_phantoms = replace(task, phantom_recipe=None)
    write_json(tmp_path / "config.json", {"task": asdict(without_phantoms)})
    assert run_task(tmp_path) == without_phantoms


@pytest.mark.parametrize(
    "content",
    [None, "{", "[]", "{}", "[" * 200_000, '{"task": null}', '{"task": {"name": "x"}}']
    + [json.dumps({"task": {**asdict(hip), **change}}) for change in ({"new": 1}, {"classes": 3})],
)
def test_a_run_that_tells_no_task(content, tmp_path):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"config.json: (.* the task|damaged)"):
        run_task(tmp_path)


def test_thresholds_of_a_run(tmp_path):
    classes = ("a", "b")
    assert run_thresholds(tmp_path, classes) == (0.5, 0.5)
    write_json(tmp_path / "threshold.json", {"thresholds": {"b": 0.25, "a": 0.6}, "chosen": "x"})
    assert run_thresholds(tmp_path, classes) == (0.6, 0.25)
    with pytest.raises(InputError, match=r"threshold.json: .*threshold of each"):
        run_thresholds(tmp_path, ("a", "c"))
    (tmp_path / "threshold.json").write_text("{")
    with pytest.raises(InputError, match="threshold.json"):
        run_thresholds(tmp_path, classes)
