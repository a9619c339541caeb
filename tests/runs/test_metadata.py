"""The file beside an exported model tells what its run knows, and goes where the model goes."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from conftest import SMALLEST_UNET
from data.files import hip_folder, picture, save
from lively import lively, phantom_run
from safetensors.numpy import save_file

import transfuse_keras as tk
from transfuse_keras.cli import main
from transfuse_keras.errors import InputError
from transfuse_keras.evaluation.results import write_thresholds
from transfuse_keras.files import write_json
from transfuse_keras.inference.inputs import Input
from transfuse_keras.inference.predict_files import read_input
from transfuse_keras.runs.embedded import read_embedded, write_embedded
from transfuse_keras.runs.metadata import (
    ModelFacts,
    compose_description,
    is_verified,
    known_task,
    metadata_path,
    read_metadata,
    update_thresholds,
    write_metadata,
)
from transfuse_keras.tasks import TASKS, Task, hip, polyp, prostate

SIZE = (32, 48)
THRESHOLDS = {"pelvis": 0.0, "left_femur": 1.0, "right_femur": 0.25}
METRICS = {"n": 3, "protocol": "per image", "unit": "mm"}
METRICS["mean"] = {"dice": 0.75, "hd_mm": 4.5, "penalized_hd_mm": 4.5}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with scores and thresholds, of which the first and the second decide alone."""
    run = phantom_run(
        tmp_path_factory.mktemp("runs") / "hip", lively(SMALLEST_UNET, (*SIZE, 3), 3), hip
    )
    write_thresholds(run, THRESHOLDS, "auto")
    write_json(run / "metrics.json", METRICS)
    assert main(["export", "--model", str(run), "--format", "litert"]) == 0
    return run


@pytest.fixture
def carried(run, tmp_path):
    """The exported model and its .json in a folder of their own."""
    shutil.copy(run / "model.tflite", tmp_path)
    shutil.copy(run / "model.tflite.json", tmp_path)
    return tmp_path / "model.tflite"


def test_it_says_what_the_run_says(run):
    about = json.loads((run / "model.tflite.json").read_text())
    task = json.loads((run / "config.json").read_text())["task"]
    for key in ("classes", "exclusive", "mirror_pairs", "field"):
        assert about[key] == task[key]
    assert about["task"] == task["name"] == "hip" and about["data"] == "phantom"
    assert dict(zip(about["classes"], about["thresholds"], strict=True)) == THRESHOLDS
    assert about["scores"] == {key: METRICS[key] for key in ("n", "mean", "protocol")}
    assert (about["format"], about["quantize"]) == ("litert", "none")
    assert about["input"] == {
        **{"size": [*SIZE], "channels": 3, "dtype": "float32", "values": "RGB, 0-255"},
        **{"value_range": None, "dicom_range": None},
    }
    assert about["output"] == "probabilities (batch, height, width, class)"
    # what timm says of ResNet and of DeiT
    assert about["normalization"] == {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    _, _, spacing = tk.phantoms("hip", 1, SIZE)
    assert about["spacing"] == pytest.approx(spacing)
    assert about["verified"] == json.loads((run / "export.json").read_text())["model.tflite"]
    assert about["verified"]["images"] == "3 test images"
    versions = json.loads((run / "config.json").read_text())["versions"]
    for name in ("python", "keras", "tensorflow"):
        assert about["versions"][name] == versions[name]
    assert about["versions"]["ai-edge-litert"]


def written(path, task, thresholds):
    """The sidecar of a model of a task, without the model."""
    shape = (None, *SIZE, task.channels)
    mean_std = task.normalization or ((0.5,) * task.channels, (0.25,) * task.channels)
    model = SimpleNamespace(variant="Ti", input_shape=shape, normalization=mean_std)
    origin = ModelFacts(task, dict(zip(task.classes, thresholds, strict=True)))
    write_metadata(path, compose_description(model, origin, "litert", "none"), None)
    return json.loads(metadata_path(path).read_text())


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_task_and_its_thresholds_come_back(task, tmp_path):
    task = replace(task, sure=task.classes[-1:] if task.field is None else ())
    thresholds = tuple(0.1 + 0.2 * i for i in range(len(task.classes)))
    about = written(tmp_path / "model.tflite", task, thresholds)
    assert about["input"]["values"] == (
        "RGB, 0-255" if task.field is None else "z-scored by volume and channel"
    )
    found, kept = read_metadata(tmp_path / "model.tflite")
    assert kept == thresholds and not found.channel_suffixes
    for name in ("name", "classes", "channels", "exclusive", "sure", "mirror_pairs", "field"):
        assert getattr(found, name) == getattr(task, name)
    assert found.mirrored_classes == task.mirrored_classes


def test_ranges_travel_with_a_model_and_predict_reads_with_them(tmp_path):
    """A file of a former version tells no range: then each image has its own, as before."""
    ranges = {"value_range": (1000.0, 5000.0), "dicom_range": (-1000.0, 400.0)}
    path, image = tmp_path / "model.tflite", tmp_path / "a.png"
    values = np.uint16([[0, 1000, 2000], [3000, 4000, 5000]])
    cv2.imwrite(str(image), values)
    about = written(path, replace(polyp, channels=1, **ranges), (0.5,))
    found, _ = read_metadata(path)
    assert {name: getattr(found, name) for name in ranges} == ranges
    shown = read_input(Input("a", (image,)), found)[0][..., 0]
    wanted = 255 * np.clip((values - 1000.0) / 4000, 0, 1)
    np.testing.assert_allclose(shown, wanted, atol=0.5)
    for name in ranges:
        del about["input"][name]
    write_json(metadata_path(path), about)
    shown = read_input(Input("a", (image,)), read_metadata(path)[0])[0][..., 0]
    np.testing.assert_allclose(shown, values * (255 / 16383), atol=0.5)


def test_the_file_names_of_channels_come_back(tmp_path):
    task = replace(prostate, channel_suffixes=("_T2", "_ADC"))
    about = written(tmp_path / "model.tflite", task, (0.5, 0.5))
    assert read_metadata(tmp_path / "model.tflite")[0].channel_suffixes == ("_T2", "_ADC")
    del about["channel_suffixes"]  # as files of former versions are
    (tmp_path / "model.tflite.json").write_text(json.dumps(about))
    assert read_metadata(tmp_path / "model.tflite")[0].channel_suffixes == ()


@pytest.mark.parametrize("name", ["model.tflite", "model-int8.tflite", "saved_model", "model.xml"])
def test_its_name_is_that_of_the_model_and_json(name, tmp_path):
    written(tmp_path / name, Task("eye", ("lens", "iris"), exclusive=True), (0.5, 0.25))
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.json"]
    assert read_metadata(tmp_path / name)[0].exclusive
    assert read_metadata(tmp_path / "another.tflite") is None
    assert read_metadata("") is None


@pytest.mark.parametrize(
    ("what", "value"),
    [
        *(("classes", None), ("classes", 3), ("classes", ["a", "a"]), ("thresholds", ["x"])),
        *(("thresholds", None), ("input", None), ("input", []), ("mirror_pairs", [["a", "b"]])),
        *(("mirror_pairs", None), ("exclusive", None), ("field", 3), ("task", None)),
    ],
)
def test_a_damaged_one_is_told(what, value, tmp_path):
    about = written(tmp_path / "model.tflite", hip, (0.5, 0.5, 0.5))
    file = tmp_path / "model.tflite.json"
    if value is None:
        del about[what]
    else:
        about[what] = value
    for content in (json.dumps(about), json.dumps(about)[:-9], "[]", "", "[" * 200_000):
        file.write_text(content)
        with pytest.raises(InputError, match="damaged") as error:
            read_metadata(tmp_path / "model.tflite")
        said = str(error.value)
        assert said.startswith(f"{file}: damaged") and "export the model" in said
        assert "\n" not in said


def test_the_run_that_a_model_lies_in_knows_better(run, tmp_path):
    assert known_task(tmp_path / "model.tflite") is None
    written(tmp_path / "model.tflite", prostate, (0.5, 0.25))
    task, thresholds = known_task(tmp_path / "model.tflite")
    assert (task.name, thresholds) == ("prostate", (0.5, 0.25))
    write_json(tmp_path / "config.json", json.loads((run / "config.json").read_text()))
    task, thresholds = known_task(tmp_path / "model.tflite")
    assert (task.name, thresholds) == ("hip", (0.5, 0.5, 0.5))


def test_other_thresholds_of_a_run_reach_all_its_models_and_nothing_else(tmp_path):
    for name in ("model.safetensors", "saved_model", "gone.onnx"):
        written(tmp_path / name, hip, (0.5, 0.5, 0.5))
    save_file({"a": np.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "saved_model").mkdir()
    (tmp_path / "saved_model" / "saved_model.pb").touch()
    write_embedded(tmp_path / "model.safetensors", {"classes": hip.classes, "thresholds": [0.5]})
    write_json(tmp_path / "metrics.json", {"thresholds": {"pelvis": 0.5}})
    before = {path.name: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    new = {"right_femur": 0.3, "pelvis": 0.1, "left_femur": 0.2}
    write_thresholds(tmp_path, new, "auto")
    for name in ("model.safetensors", "saved_model"):
        about = json.loads((tmp_path / f"{name}.json").read_text())
        assert about == {**before[f"{name}.json"], "thresholds": [0.1, 0.2, 0.3]}
    for name in ("gone.onnx.json", "metrics.json"):
        assert json.loads((tmp_path / name).read_text()) == before[name]
    assert json.loads((tmp_path / "threshold.json").read_text())["thresholds"] == new
    assert read_embedded(tmp_path / "model.safetensors")["thresholds"] == [0.1, 0.2, 0.3]
    assert read_embedded(tmp_path / "saved_model") is None  # it carried nothing
    update_thresholds(tmp_path / "absent", new)  # nothing was exported yet


def find_masks(out, stem):
    return {
        name: cv2.imread(str(out / f"{stem}_{name}.png"), cv2.IMREAD_UNCHANGED)
        for name in hip.classes
    }


@pytest.mark.parametrize("beside", [True, False], ids=["with its json", "alone"])
def test_a_model_carried_away_predicts_with_its_own_thresholds(beside, carried, tmp_path):
    if not beside:
        metadata_path(carried).unlink()
    save(tmp_path / "in" / "a.png", picture(1))
    command = ["predict", "--model", str(carried), "--input", str(tmp_path / "in")]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    masks = find_masks(tmp_path / "out", "a")
    # every probability reaches 0, none 1
    assert (masks["pelvis"] == 255).all() and not masks["left_femur"].any()
    assert main([*command, "--threshold", "1", "--out", str(tmp_path / "out")]) == 0
    assert not find_masks(tmp_path / "out", "a")["pelvis"].any()


def test_a_model_that_does_not_tell_its_task_needs_one(litert_file, tmp_path, capsys):
    save(tmp_path / "in" / "a.png", picture(1))
    lone = shutil.copy(litert_file, tmp_path)
    command = ["predict", "--model", str(lone), "--input", str(tmp_path / "in")]
    assert main([*command, "--out", str(tmp_path / "alone")]) == 2
    assert re.search(f"{lone}: .*no run folder", capsys.readouterr().err)
    assert not (tmp_path / "alone").exists()
    assert main([*command, "--task", "hip", "--out", str(tmp_path / "alone")]) == 0
    half = find_masks(tmp_path / "alone", "a")["pelvis"]
    assert 0 < np.count_nonzero(half) < half.size
    assert main(["evaluate", "--model", str(lone), "--out", str(tmp_path / "scores")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{lone}: " in line and "no run folder" in line and "--task" in line


def test_a_run_predicts_by_its_verified_file_without_a_heavy_library(run, tmp_path):
    save(tmp_path / "in" / "a.png", picture(1))
    given = ["predict", "--model", str(run), "--input", str(tmp_path / "in" / "a.png"), "--out"]
    code = f"""
import sys
from transfuse_keras.cli import main
assert main({[*given, str(tmp_path / "fast")]!r}) == 0
print(*sys.modules, file=sys.stderr)
"""
    root = str(Path(tk.__file__).parents[1])
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": root})
    assert done.returncode == 0, done.stderr
    (said,) = [line for line in done.stdout.splitlines() if "model.tflite" in line]
    assert "--runtime keras" in said
    heavy = {"tensorflow", "keras", "scipy", "matplotlib", "pydicom", "nibabel", "sklearn"}
    assert not heavy & set(done.stderr.split())
    assert main([*given, str(tmp_path / "keras"), "--runtime", "keras"]) == 0
    masks = [find_masks(tmp_path / name, "a") for name in ("fast", "keras")]
    assert 0 < np.count_nonzero(masks[1]["right_femur"]) < masks[1]["right_femur"].size
    for name in hip.classes:
        np.testing.assert_array_equal(masks[0][name], masks[1][name])


@pytest.mark.parametrize("beside", [True, False], ids=["with its json", "alone"])
def test_a_model_carried_away_is_scored_with_its_own_thresholds(beside, carried, tmp_path, capsys):
    if not beside:
        metadata_path(carried).unlink()
    data = hip_folder(tmp_path / "data", patients=2)
    command = ["evaluate", "--model", str(carried), "--data", str(data)]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["thresholds"] == THRESHOLDS and metrics["task"] == "hip"
    assert metrics["classes"]["left_femur"]["dice"] == 0
    assert metrics["classes"]["pelvis"]["recall"] == 1
    assert main([*command, "--threshold", "auto", "--out", str(tmp_path / "auto")]) == 2
    assert "no validation split" in capsys.readouterr().err


def test_the_file_says_all_that_its_json_says_but_how_it_was_verified(run):
    beside = json.loads((run / "model.tflite.json").read_text())
    assert read_embedded(run / "model.tflite") == {
        key: value for key, value in beside.items() if key not in ("verified", "sha256")
    }


def test_thresholds_chosen_later_are_in_the_file_too(run, tmp_path):
    copied = shutil.copytree(run, tmp_path / "run")
    new = {"pelvis": 0.25, "left_femur": 0.5, "right_femur": 0.75}
    write_thresholds(copied, new, "auto")
    assert read_embedded(copied / "model.tflite")["thresholds"] == [0.25, 0.5, 0.75]
    assert is_verified(copied / "model.tflite")


def test_inspect_tells_the_run_its_keras_file_and_its_exported_file(run, capsys):
    assert main(["inspect", str(run), str(run / "model.keras"), str(run / "model.tflite")]) == 0
    told = capsys.readouterr().out
    folder, keras_file, exported = told.split(f"{run}")[1:]
    for part, form in ((folder, "run folder"), (keras_file, "Keras"), (exported, "LiteRT")):
        assert form in part and "hip" in part and "32x48" in part and "dice 0.75" in part
        assert "pelvis from 0, left_femur from 1, right_femur from 0.25" in part
        assert "float32" in part and "phantom" in part and "keras 3." in part
        rows = [line.split()[0] for line in part.splitlines() if line.startswith("  ")]
        assert rows[:5] == ["format", "variant", "task", "classes", "input"]
        assert "hd_mm 4.5" in part and "penalized" not in part  # it is the same
    assert "on 3 test images" in exported and "float32" in exported
