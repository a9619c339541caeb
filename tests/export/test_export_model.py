"""What `transfuse export` writes, and on which images it verifies and calibrates."""

import json
import shutil
from functools import partial

import numpy as np
import pytest
from conftest import SMALLEST
from data.files import hip_folder
from lively import phantom_run, pictures

from transfuse_keras.cli import main
from transfuse_keras.data.samples import phantom_samples
from transfuse_keras.errors import InputError
from transfuse_keras.export.export_model import (
    calibration_images,
    find_model_facts,
    find_verification_samples,
    plan_exports,
)
from transfuse_keras.export.formats import FORMATS
from transfuse_keras.export.verification import BUDGETS
from transfuse_keras.files import write_json
from transfuse_keras.inference.predictor import as_predictor, load_predictor
from transfuse_keras.model.transfuse import TransFuse
from transfuse_keras.runs.folder import run_task
from transfuse_keras.runs.settings import Settings, describe_settings
from transfuse_keras.tasks import hip, polyp, prostate

SIZE = (32, 48)


@pytest.fixture(scope="module")
def images():
    return pictures(3, SIZE)


@pytest.fixture(scope="module")
def wanted(lively_model, images):
    return as_predictor(lively_model).run(images)


def test_a_plan_names_a_file_for_each_format_and_quantization(capsys):
    assert {quantize for *_, known in FORMATS.values() for quantize in known} == set(BUDGETS)
    assert plan_exports(["litert"], ["none", "float16", "dynamic", "int8"]) == [
        ("litert", "model.tflite", "none"),
        ("litert", "model-float16.tflite", "float16"),
        ("litert", "model-dynamic.tflite", "dynamic"),
        ("litert", "model-int8.tflite", "int8"),
    ]
    assert plan_exports(["saved_model"], ["none"]) == [("saved_model", "saved_model", "none")]
    assert capsys.readouterr().out == ""
    assert plan_exports(["onnx", "openvino"], ["none", "float16", "int8"]) == [
        ("onnx", "model.onnx", "none"),
        ("openvino", "model.xml", "none"),
        ("openvino", "model-float16.xml", "float16"),
    ]
    onnx, openvino = capsys.readouterr().out.splitlines()
    assert "onnx: float16 and int8 " in onnx and "openvino: int8 " in openvino
    for name, given, known in (
        ("onnx", ["int8"], "none"),
        ("pytorch", ["float16", "int8"], "none"),
        ("openvino", ["dynamic"], "none float16"),
    ):
        with pytest.raises(InputError, match=f"^--format {name}: has --quantize {known} only.$"):
            plan_exports(["litert", name], given)


@pytest.fixture
def copied(litert_file, monkeypatch):
    """LiteRT files of this model are copied, not made once more."""

    def export(lively_model, path, quantize):
        path.write_bytes(litert_file.read_bytes())

    monkeypatch.setitem(FORMATS, "litert", (export, *FORMATS["litert"][1:]))


@pytest.fixture
def made_before(exported, monkeypatch):
    """As `copied`, of each format and quantisation: test_formats.py makes them."""

    def copy(name, lively_model, path, quantize="none"):
        file = exported(name, quantize)
        shutil.copy(file, path)
        if name == "openvino":
            shutil.copy(file.with_suffix(".bin"), path.with_suffix(".bin"))

    for name in ("litert", "onnx", "openvino"):
        monkeypatch.setitem(FORMATS, name, (partial(copy, name), *FORMATS[name][1:]))


def export(run, *arguments):
    return main(["export", "--model", str(run), "--format", *map(str, arguments)])


@pytest.fixture(scope="module")
def phantoms_run(lively_model, tmp_path_factory):
    return phantom_run(tmp_path_factory.mktemp("runs") / "hip", lively_model, hip)


@pytest.fixture
def bereft(phantoms_run, tmp_path):
    """A run whose data is gone."""
    run = shutil.copytree(phantoms_run, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    write_json(run / "config.json", {**config, "data": str(tmp_path / "gone")})
    return run


def test_int8_weights_need_labelled_images(bereft, tmp_path, capsys):
    lone = tmp_path / "a" / "b" / "c" / "lone.keras"
    lone.parent.mkdir(parents=True)
    shutil.copy(bereft / "model.keras", lone)
    before = sorted(tmp_path.rglob("*"))
    for path, quantize, why in (
        (bereft, "int8", f"{tmp_path / 'gone'} is not there"),
        (lone, "dynamic", "the model is in no run folder"),
    ):
        assert export(path, "litert", "--quantize", "none", quantize) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "int8 weights " in line and "labelled images" in line
        assert why in line and line.endswith("; give --data.")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["metrics.json", "export.json"])
def test_a_damaged_file_of_the_run_is_one_sentence_and_nothing_is_written(
    name, phantoms_run, copied, tmp_path, capsys
):
    run = shutil.copytree(phantoms_run, tmp_path / "run")
    (run / name).write_text("{")
    before = sorted(tmp_path.rglob("*"))
    assert export(run, "litert") == 2
    assert f"{run / name}: damaged" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_model_of_volumes_needs_its_run(tmp_path, capsys):
    keras_model = TransFuse(SMALLEST, (32, 48, 2), 2, normalization=prostate.normalization)
    keras_model.save(tmp_path / "lone.keras")
    assert export(tmp_path / "lone.keras", "litert") == 2
    assert "run folder" in capsys.readouterr().err


def test_float_weights_are_verified_on_noise_if_the_data_is_gone(bereft, copied, tmp_path, capsys):
    assert export(bereft, "litert", "--quantize", "none", "float16", "--out", tmp_path / "new") == 0
    rows = json.loads((tmp_path / "new" / "export.json").read_text())
    assert set(rows) == {"model.tflite", "model-float16.tflite"}
    for row in rows.values():
        assert row["images"] == "4 images of noise" and row["dice"] is None
        assert row["largest_difference"] < 1e-4
    out = capsys.readouterr().out
    assert out.count("4 images of noise") == 2 and "Dice" not in out
    about = json.loads((tmp_path / "new" / "model.tflite.json").read_text())
    assert about["data"] == "gone" and about["spacing"] is None


def test_other_data_can_be_given(bereft, copied, tmp_path, capsys):
    data = hip_folder(tmp_path / "other")
    assert export(bereft, "litert", "--quantize", "dynamic", "--data", data) == 0
    row = json.loads((bereft / "export.json").read_text())["model-dynamic.tflite"]
    assert row["images"] == "2 test images" and row["dice_lost"] == pytest.approx(0, abs=1e-3)
    assert row["keras_dice"] is not None


def test_samples_are_those_of_the_run_or_none(phantoms_run):
    found = find_verification_samples(run_task(phantoms_run), phantoms_run, None, {"int8"})
    assert [sample.name for sample in found["test"]] == [f"phantom-{i:04}" for i in range(8, 11)]
    assert len(found["train"]) == 6
    assert find_verification_samples(hip, None, None, {"none", "float16"}) == {
        "train": [],
        "test": [],
    }


def test_int8_is_calibrated_on_training_images_at_the_size_of_the_model(lively_model, capsys):
    samples = phantom_samples(hip, (64, 96), 0, range(40))
    found = calibration_images(lively_model, hip, samples)
    said = capsys.readouterr().out
    assert "int8 on 32 training images" in said and "seed 0" in said
    halves = [x.read()[0].reshape(32, 2, 48, 2, 3).mean(axis=(1, 3)) for x in samples]
    nearest = [min(range(40), key=lambda i: np.abs(halves[i] - x).max()) for x in found]
    assert len(set(nearest)) == 32 and nearest != sorted(nearest)  # drawn, each once
    for i, image in zip(nearest, found, strict=True):
        np.testing.assert_allclose(image, halves[i], atol=1)
    np.testing.assert_array_equal(calibration_images(lively_model, hip, samples), found)
    with pytest.raises(InputError, match="int8 .*training images"):
        calibration_images(lively_model, hip, [])


def test_the_origin_of_a_model_names_its_data_but_not_where_it_lay(bereft):
    file = bereft / "model.keras"
    assert find_model_facts(hip, bereft, None, file).data == "gone"
    assert find_model_facts(hip, bereft, None, file).scores is None
    nameless = find_model_facts(polyp, None, (0.5, 0.5), file)
    assert (nameless.data, nameless.scores, nameless.thresholds) == (None, None, {"polyp": 0.5})


@pytest.mark.slow
def test_a_run_in_all_formats(
    phantoms_run, made_before, images, wanted, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(BUDGETS, "float16", ("mask_dice", "at least", 0.99))  # a random model
    out = tmp_path / "deployed"
    formats = ["litert", "onnx", "openvino", "pytorch"]  # a SavedModel: tests/test_cli.py
    given = ["--quantize", "none", "float16", "--out", out]
    assert export(phantoms_run, *formats, *given) == 0
    told = capsys.readouterr().out
    files = {"model.tflite", "model-float16.tflite", "model.onnx"}
    files |= {"model.xml", "model-float16.xml"}
    weights = {"model.bin", "model-float16.bin", "model.safetensors"}
    beside = {f"{name}.json" for name in files} | {"export.json"}
    assert {path.name for path in out.iterdir()} == files | weights | beside
    rows = json.loads((out / "export.json").read_text())
    assert set(rows) == files
    for name in files:
        assert f"Wrote {out / name} and {name}.json" in told
        about = json.loads((out / f"{name}.json").read_text())
        assert about["verified"] == rows[name] and rows[name]["images"] == "3 test images"
        assert about["quantize"] == ("float16" if "float16" in name else "none")
        found = load_predictor(out / name).run(images)
        np.testing.assert_allclose(found, wanted, atol=0.02 if "float16" in name else 1e-4)
    formats = {name: json.loads((out / f"{name}.json").read_text())["format"] for name in files}
    assert formats == {
        **dict.fromkeys(("model.tflite", "model-float16.tflite"), "litert"),
        "model.onnx": "onnx",
        **dict.fromkeys(("model.xml", "model-float16.xml"), "openvino"),
    }


@pytest.mark.slow
def test_int8_from_the_command_line(phantoms_run, images, wanted, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(BUDGETS, "dynamic", ("dice_lost", "at most", 0.2))  # a random model
    monkeypatch.setitem(BUDGETS, "int8", ("dice_lost", "at most", 0.2))
    given = ["--quantize", "dynamic", "int8", "--out", tmp_path]
    assert export(phantoms_run, "litert", *given) == 0
    assert "int8 on 6 training images" in capsys.readouterr().out
    for name in ("dynamic", "int8"):
        found = load_predictor(tmp_path / f"model-{name}.tflite").run(images)
        assert 1e-3 < np.abs(found - wanted).mean() < 0.05
    rows = json.loads((tmp_path / "export.json").read_text())
    assert {row["images"] for row in rows.values()} == {"3 test images"}


def test_damaged_scores_of_a_run_are_named(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(describe_settings(Settings(hip))))
    (tmp_path / "metrics.json").write_text('{"n": 3}')
    with pytest.raises(InputError, match=r"metrics.json: .*'mean'"):
        find_model_facts(hip, tmp_path, None, tmp_path / "model.keras")
