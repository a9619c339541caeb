"""SavedModel, ONNX and OpenVINO give what the Keras model gives; what `transfuse export` writes."""

import json
import shutil
import sys

import numpy as np
import openvino
import pytest
import tensorflow as tf
from conftest import SMALLEST
from data.files import hip_folder
from lively import lively, phantom_run, pictures

import transfuse_keras as tk
from transfuse_keras import runners
from transfuse_keras.cli import main
from transfuse_keras.data.resize import resize_image
from transfuse_keras.data.samples import phantom_samples
from transfuse_keras.errors import InputError
from transfuse_keras.export import (
    FORMATS,
    builtin_resizing,
    export_litert,
    export_onnx,
    export_openvino,
    export_saved_model,
    resize,
    takes_z_scored,
)
from transfuse_keras.export_run import calibration_images, find_samples, origin_of, plan
from transfuse_keras.files import write_json
from transfuse_keras.layers.upsampling import resize_bilinear
from transfuse_keras.predictor import as_predictor, load_predictor, run_task
from transfuse_keras.tasks import hip, polyp, prostate
from transfuse_keras.verification import BUDGETS

SIZE = (32, 48)


@pytest.fixture(scope="module")
def model():
    return lively(SMALLEST, (*SIZE, 3), 3)


@pytest.fixture(scope="module")
def images():
    return pictures(3, SIZE)


@pytest.fixture(scope="module")
def wanted(model, images):
    maps = as_predictor(model).run(images)
    assert np.ptp(maps) > 0.5
    return maps


def operations():
    """The kinds of operations of a graph that resizes."""
    graph = tf.function(lambda x: resize_bilinear(x, (8, 12))).get_concrete_function(
        tf.TensorSpec((1, 4, 6, 2))
    )
    return {operation.type for operation in graph.graph.get_operations()}


@pytest.mark.parametrize("size", [(10, 18), (5, 36), (3, 4), (17, 9), (5, 9), (1, 1)])
def test_the_builtin_operation_resizes_as_the_products_do(size):
    x = np.random.default_rng(0).standard_normal((2, 5, 9, 3)).astype("float32")
    products = resize_bilinear(x, size)
    with builtin_resizing():
        found = resize_bilinear(x, size)
    np.testing.assert_allclose(found, products, atol=1e-5)


def test_graphs_resize_by_the_builtin_operation_within_the_context_only():
    assert "ResizeBilinear" not in operations() and any("MatMul" in x for x in operations())
    with builtin_resizing():
        assert "ResizeBilinear" in operations() and not any("MatMul" in x for x in operations())
    assert "ResizeBilinear" not in operations()
    with pytest.raises(RuntimeError), builtin_resizing():
        raise RuntimeError
    assert "ResizeBilinear" not in operations()


def test_onnx_gives_the_same_for_one_image_or_several(model, images, wanted, tmp_path):
    import onnx

    path = tmp_path / "model.onnx"
    export_onnx(model, path)
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    graph = onnx.load(path)
    onnx.checker.check_model(graph, full_check=True)
    assert {node.domain for node in graph.graph.node} <= {"", "ai.onnx"}
    (entry,) = graph.graph.input
    assert entry.name == "image" and len(graph.graph.output) == 1
    assert [axis.dim_value for axis in entry.type.tensor_type.shape.dim] == [0, *SIZE, 3]
    shape, run = runners.onnx(path)
    assert shape == [*SIZE, 3]
    together = run(images[:2])
    np.testing.assert_allclose(together, wanted[:2], atol=1e-4)
    np.testing.assert_allclose(
        np.concatenate([run(x[None]) for x in images[:2]]), together, atol=1e-5
    )
    np.testing.assert_allclose(load_predictor(path).run(images), wanted, atol=1e-4)


def test_openvino_gives_the_same_for_one_image_or_several(model, images, wanted, tmp_path):
    sizes = {}
    for quantize, tolerance in (("none", 1e-4), ("float16", 0.02)):
        folder = tmp_path / quantize
        folder.mkdir()
        export_openvino(model, folder / "model.xml", quantize)
        assert {file.name for file in folder.iterdir()} == {"model.xml", "model.bin"}
        sizes[quantize] = (folder / "model.bin").stat().st_size
        core = openvino.Core()
        graph = core.read_model(folder / "model.xml")
        assert graph.input(0).any_name == "image"
        assert graph.input(0).partial_shape.to_string() == f"[?,{SIZE[0]},{SIZE[1]},3]"
        assert [x.get_element_type() for x in (graph.input(0), graph.output(0))] == [
            openvino.Type.f32
        ] * 2
        compiled = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        together = compiled(images[:2])[0]
        np.testing.assert_allclose(together, wanted[:2], atol=tolerance)
        alone = np.concatenate([compiled(image[None])[0] for image in images[:2]])
        np.testing.assert_allclose(alone, together, atol=1e-5)
        found = load_predictor(folder / "model.xml").run(images)
        np.testing.assert_allclose(found, wanted, atol=tolerance)
    assert sizes["float16"] == pytest.approx(sizes["none"] / 2, rel=0.02)


@pytest.fixture(scope="module")
def signatures(model, tmp_path_factory):
    """Those of the model's SavedModel."""
    path = tmp_path_factory.mktemp("exported") / "saved_model"
    export_saved_model(model, path)
    loaded = tf.saved_model.load(str(path))
    assert set(loaded.signatures) == {"serving_default", "any_size"}
    return loaded, loaded.signatures


def test_a_saved_model_takes_any_batch(signatures, images, wanted):
    serve = signatures[1]["serving_default"]
    (image,) = serve.structured_input_signature[1].values()
    assert (image.name, image.shape.as_list()) == ("image", [None, *SIZE, 3])
    found = serve(tf.constant(images))
    assert set(found) == {"probabilities"} and len(images) == 3
    np.testing.assert_allclose(found["probabilities"], wanted, atol=1e-4)
    alone = serve(image=tf.constant(images[:1]))["probabilities"]
    np.testing.assert_allclose(alone, wanted[:1], atol=1e-4)


# larger than the model, smaller, equal, and larger on one side only
@pytest.mark.parametrize("size", [(75, 101), (64, 96), (20, 31), SIZE, (20, 101), (75, 31)])
def test_tensorflow_resizes_as_opencv_does(size):
    images = pictures(2, size, seed=2)
    maps = np.random.default_rng(0).random((2, *SIZE, 3), "float32")
    for values, wanted, tolerance in ((images, SIZE, 1e-3), (maps, size, 1e-5)):
        found = resize(tf.constant(values), wanted)
        for ours, value in zip(found, values, strict=True):
            np.testing.assert_allclose(ours, resize_image(value, wanted), atol=tolerance)


# OpenCV resizes uint8 in integers, which makes a grey level of difference on an eighth of the
# pixels where it interpolates or halves, and none where it averages
@pytest.mark.parametrize(
    ("size", "most", "mean"),
    [
        *(((75, 101), 1e-4, 1e-5), ((96, 144), 1e-4, 1e-5), (SIZE, 1e-4, 1e-5)),
        *(((64, 96), 0.03, 0.003), ((20, 31), 0.03, 0.003)),
        *(((20, 101), 0.03, 0.003), ((75, 31), 0.03, 0.003)),
    ],
)
def test_a_saved_model_takes_images_of_any_size_as_predict_does(
    size, most, mean, model, signatures
):
    images = pictures(2, size, seed=2).astype("uint8")
    found = np.asarray(signatures[1]["any_size"](image=tf.constant(images))["probabilities"])
    assert found.shape == (2, *size, 3)
    for image, maps in zip(images, found, strict=True):
        difference = np.abs(maps - tk.predict(model, image))
        assert difference.max() < most and difference.mean() < mean


def test_a_model_of_z_scored_slices_is_not_given_images_of_any_size(smallest, model, tmp_path):
    z_scored = smallest((32, 32, 2), 2, normalization=prostate.normalization)
    assert takes_z_scored(z_scored) and not takes_z_scored(model)
    export_saved_model(z_scored, tmp_path / "saved_model")
    loaded = tf.saved_model.load(str(tmp_path / "saved_model"))
    assert set(loaded.signatures) == {"serving_default"}
    slices = np.random.default_rng(0).standard_normal((2, 32, 32, 2)).astype("float32")
    found = load_predictor(tmp_path / "saved_model").run(slices)
    np.testing.assert_allclose(found, as_predictor(z_scored).run(slices), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("onnx", "onnx", "onnx"), ("onnx", "tf2onnx", "onnx"), ("openvino", "openvino", "openvino")],
)
def test_a_missing_package_is_told_with_what_installs_it(
    name, module, extra, model, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, module, None)
    export, file, _ = FORMATS[name]
    with pytest.raises(InputError) as error:
        export(model, tmp_path / file)
    assert str(error.value) == (
        f"{module} is not installed: pip install 'transfuse-keras[{extra}]'."
    )
    assert not list(tmp_path.iterdir())


def test_a_plan_names_a_file_for_each_format_and_quantization(capsys):
    assert {quantize for *_, known in FORMATS.values() for quantize in known} == set(BUDGETS)
    assert plan(["litert"], ["none", "float16", "dynamic", "int8"]) == [
        ("litert", "model.tflite", "none"),
        ("litert", "model-float16.tflite", "float16"),
        ("litert", "model-dynamic.tflite", "dynamic"),
        ("litert", "model-int8.tflite", "int8"),
    ]
    assert plan(["saved_model"], ["none"]) == [("saved_model", "saved_model", "none")]
    assert capsys.readouterr().out == ""
    assert plan(["onnx", "openvino"], ["none", "float16", "int8"]) == [
        ("onnx", "model.onnx", "none"),
        ("openvino", "model.xml", "none"),
        ("openvino", "model-float16.xml", "float16"),
    ]
    assert capsys.readouterr().out.splitlines() == [
        "onnx: is not written as float16 or int8, which it has not.",
        "openvino: is not written as int8, which it has not.",
    ]
    for name, given, known in (
        ("onnx", ["int8"], "none"),
        ("pytorch", ["float16", "int8"], "none"),
        ("openvino", ["dynamic"], "none float16"),
    ):
        with pytest.raises(InputError, match=f"^--format {name}: has --quantize {known} only.$"):
            plan(["litert", name], given)


@pytest.fixture(scope="module")
def litert_file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "model.tflite"
    export_litert(model, path)
    return path


@pytest.fixture
def copied(litert_file, monkeypatch):
    """LiteRT files of this model are copied, not made once more."""

    def export(model, path, quantize):
        path.write_bytes(litert_file.read_bytes())

    monkeypatch.setitem(FORMATS, "litert", (export, *FORMATS["litert"][1:]))


def export(run, *arguments):
    return main(["export", "--model", str(run), "--format", *map(str, arguments)])


@pytest.fixture(scope="module")
def phantoms_run(model, tmp_path_factory):
    return phantom_run(tmp_path_factory.mktemp("runs") / "hip", model, hip)


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
        assert "int8 weights are verified on labelled images" in line
        assert why in line and line.endswith("; give --data.")
    assert sorted(tmp_path.rglob("*")) == before


def test_float_weights_are_verified_on_noise_if_the_data_is_gone(bereft, copied, tmp_path, capsys):
    assert export(bereft, "litert", "--quantize", "none", "float16", "--out", tmp_path / "new") == 0
    rows = json.loads((tmp_path / "new" / "export.json").read_text())
    assert set(rows) == {"model.tflite", "model-float16.tflite"}
    for row in rows.values():
        assert row["images"] == "4 images of noise" and row["dice"] is None
        assert row["largest_difference"] < 1e-4
    out = capsys.readouterr().out
    assert out.count("on 4 images of noise") == 2 and "Dice" not in out
    about = json.loads((tmp_path / "new" / "model.tflite.json").read_text())
    assert about["data"] == "gone" and about["spacing"] is None


def test_other_data_can_be_given(bereft, copied, tmp_path, capsys):
    data = hip_folder(tmp_path / "other")
    assert export(bereft, "litert", "--quantize", "dynamic", "--data", data) == 0
    row = json.loads((bereft / "export.json").read_text())["model-dynamic.tflite"]
    assert row["images"] == "2 test images" and row["dice_lost"] == pytest.approx(0, abs=1e-3)
    assert row["keras_dice"] is not None


def test_samples_are_those_of_the_run_or_none(phantoms_run):
    found = find_samples(run_task(phantoms_run), phantoms_run, None, {"int8"})
    assert [sample.name for sample in found["test"]] == [f"phantom-{i:04}" for i in range(8, 11)]
    assert len(found["train"]) == 6
    assert find_samples(hip, None, None, {"none", "float16"}) == {"train": [], "test": []}


def test_int8_is_calibrated_on_training_images_at_the_size_of_the_model(model, capsys):
    samples = phantom_samples(hip, (64, 96), 0, range(40))
    found = calibration_images(model, hip, samples)
    assert "Calibrating int8 on 32 training images (drawn with seed 0)" in capsys.readouterr().out
    halves = [x.read()[0].reshape(32, 2, 48, 2, 3).mean(axis=(1, 3)) for x in samples]
    nearest = [min(range(40), key=lambda i: np.abs(halves[i] - x).max()) for x in found]
    assert len(set(nearest)) == 32 and nearest != sorted(nearest)  # drawn, each once
    for i, image in zip(nearest, found, strict=True):
        np.testing.assert_allclose(image, halves[i], atol=1)
    np.testing.assert_array_equal(calibration_images(model, hip, samples), found)
    with pytest.raises(InputError, match="int8 needs training images"):
        calibration_images(model, hip, [])


def test_the_origin_of_a_model_names_its_data_but_not_where_it_lay(bereft):
    assert origin_of(hip, bereft, None).data == "gone"
    assert origin_of(hip, bereft, None).scores is None
    nameless = origin_of(polyp, None, (0.5, 0.5))
    assert (nameless.data, nameless.scores, nameless.thresholds) == (None, None, {"polyp": 0.5})


@pytest.mark.slow
def test_a_run_in_all_formats(phantoms_run, images, wanted, tmp_path, capsys):
    out = tmp_path / "deployed"
    formats = ["saved_model", "litert", "onnx", "openvino", "pytorch"]
    given = ["--quantize", "none", "float16", "--out", out]
    assert export(phantoms_run, *formats, *given) == 0
    told = capsys.readouterr().out
    files = {"saved_model", "model.tflite", "model-float16.tflite", "model.onnx"}
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
        "saved_model": "saved_model",
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
    assert "Calibrating int8 on 6 training images" in capsys.readouterr().out
    for name in ("dynamic", "int8"):
        found = load_predictor(tmp_path / f"model-{name}.tflite").run(images)
        assert 1e-3 < np.abs(found - wanted).mean() < 0.05
    rows = json.loads((tmp_path / "export.json").read_text())
    assert {row["images"] for row in rows.values()} == {"3 test images"}
