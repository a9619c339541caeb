"""Is an exported file the same model? With answers worked by hand, and files that are not."""

import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import psutil
import pytest
from conftest import SMALLEST
from lively import phantom_run

from transfuse_keras.cli import main
from transfuse_keras.data.samples import Sample, phantom_samples
from transfuse_keras.export import verification
from transfuse_keras.export.formats import FORMATS
from transfuse_keras.export.verification import (
    BUDGETS,
    HeldOut,
    OverBudget,
    check_budget,
    export_verified,
    mean_dice,
    predict_held_out,
    verify,
)
from transfuse_keras.files import compute_digest
from transfuse_keras.inference.predictor import as_predictor, load_predictor
from transfuse_keras.model.transfuse import TransFuse
from transfuse_keras.runs.embedded import read_embedded
from transfuse_keras.runs.metadata import ModelFacts
from transfuse_keras.tasks import hip, prostate
from transfuse_keras.training import finish

SIZE = (32, 48)


def square(*sides):
    """0/1 (N, 4, 4, 1): a square in the upper left corner of each image."""
    masks = np.zeros((len(sides), 4, 4, 1), "uint8")
    for mask, side in zip(masks, sides, strict=True):
        mask[:side, :side] = 1
    return masks


def likely(masks, inside=0.9, outside=0.1):
    return np.where(masks, inside, outside).astype("float32")


def verified(found, wanted, truths, **arguments):
    """`verify` of a model whose answer to image k is found[k]."""
    images = np.arange(len(wanted), dtype="float32").reshape(-1, 1, 1, 1)
    against = HeldOut(images, truths, wanted, "made by hand")
    return verify(lambda batch: found[batch.ravel().astype(int)], against, **arguments)


def test_the_same_model_loses_nothing():
    wanted = likely(square(2, 3))
    assert verified(wanted, wanted, square(2, 4)) == {
        "images": "made by hand",
        "largest_difference": 0,
        "mask_dice": 1,
        "keras_dice": pytest.approx((1 + 2 * 9 / (9 + 16)) / 2),
        "dice": pytest.approx((1 + 2 * 9 / (9 + 16)) / 2),
        "dice_lost": 0,
    }


def test_one_pixel_less_is_counted():
    wanted = likely(square(2, 3))
    found = wanted.copy()
    found[0, 1, 1] = 0.25
    report = verified(found, wanted, square(2, 3))
    assert report["largest_difference"] == pytest.approx(0.9 - 0.25)
    # 3 of 4 pixels in the first image, all in the second
    assert report["mask_dice"] == report["dice"] == pytest.approx((6 / 7 + 1) / 2)
    assert report["keras_dice"] == 1 and report["dice_lost"] == pytest.approx(1 / 14)


def test_a_better_mask_than_that_of_the_keras_model_is_no_loss():
    report = verified(likely(square(3)), likely(square(2)), square(3))
    assert report["dice"] == 1 and report["keras_dice"] == pytest.approx(8 / 13)
    assert report["dice_lost"] == pytest.approx(8 / 13 - 1)
    assert report["mask_dice"] == pytest.approx(8 / 13)


def test_images_that_show_nothing_count_for_the_masks_alone():
    wanted = likely(square(2, 0))
    report = verified(wanted, wanted, square(2, 0))
    assert (report["mask_dice"], report["keras_dice"], report["dice"]) == (1, 1, 1)
    speck = likely(square(2, 1))  # a pixel where nothing is
    for report in (verified(speck, wanted, square(2, 0)), verified(wanted, speck, square(2, 0))):
        assert (report["mask_dice"], report["keras_dice"], report["dice"]) == (0.5, 1, 1)
    assert mean_dice(square(2, 0), square(2, 1)) == 0.5
    assert mean_dice(square(2, 0), square(2, 1), shown_only=True) == 1


@pytest.mark.parametrize("truths", [None, square(0, 0)], ids=["none", "all empty"])
def test_without_truths_there_is_no_dice_with_them(truths):
    wanted = likely(square(2, 3))
    report = verified(wanted, wanted, truths)
    assert report["mask_dice"] == 1
    assert report["keras_dice"] is report["dice"] is report["dice_lost"] is None


def test_masks_are_made_as_the_model_makes_them():
    """Two classes of which the second is everywhere a little more probable in the exported
    model: alone it reaches no threshold, but of exclusive classes it takes the pixel."""
    truths = np.concatenate([square(2), square(0)], axis=-1)
    wanted = np.concatenate([likely(square(2), 0.7, 0), likely(square(2), 0.6, 0)], axis=-1)
    found = wanted[..., ::-1]
    both = verified(found, wanted, truths)
    assert both["mask_dice"] == 1 and both["largest_difference"] == pytest.approx(0.1)
    assert verified(found, wanted, truths, exclusive=True)["mask_dice"] == 0
    assert verified(found, wanted, truths, exclusive=True)["dice"] == 0
    # thresholds are those of each class
    apart = verified(found, wanted, truths, thresholds=[0.65, 0.5])
    assert apart["mask_dice"] == 0.5 and (apart["keras_dice"], apart["dice"]) == (1, 0)
    assert verified(found, wanted, truths, thresholds=[0.5, 0.65])["mask_dice"] == 0.5


@pytest.mark.parametrize(
    ("quantize", "within", "beyond"),
    [
        ("none", {"largest_difference": 1e-4}, {"largest_difference": 1.1e-4}),
        ("float16", {"mask_dice": 0.999}, {"mask_dice": 0.9989}),
        ("dynamic", {"dice_lost": 0.005}, {"dice_lost": 0.0051}),
        ("int8", {"dice_lost": -0.3}, {"dice_lost": 0.0051}),
    ],
)
def test_budgets(quantize, within, beyond, tmp_path):
    assert set(BUDGETS) == {"none", "float16", "dynamic", "int8"}
    path = tmp_path / "model.tflite"
    known = {"images": "32 test images", "largest_difference": 0.0}
    check_budget(path, quantize, {**known, **within})
    (key,) = beyond
    for value in (beyond[key], float("nan")):
        with pytest.raises(OverBudget, match=r"^model.tflite is not the same model") as error:
            check_budget(path, quantize, {**known, key: value})
        assert key.replace("_", " ") in str(error.value) and "\n" not in str(error.value)
        assert "on 32 test images" in str(error.value)


def test_a_model_that_gives_nan_is_over_budget(tmp_path):
    wanted = likely(square(2, 3))
    report = verified(wanted * np.nan, wanted, square(2, 3))
    assert np.isnan(report["largest_difference"])
    assert report["mask_dice"] == report["dice"] == 0 and report["dice_lost"] == 1
    for quantize in BUDGETS:
        with pytest.raises(OverBudget):
            check_budget(tmp_path / "model.tflite", quantize, report)


def test_nan_everywhere_is_over_budget_even_if_no_mask_differs(tmp_path):
    """As where the Keras model's masks are empty too."""
    report = {"images": "x", "largest_difference": np.nan, "mask_dice": 1.0, "dice_lost": 0.0}
    for quantize in BUDGETS:
        with pytest.raises(OverBudget):
            check_budget(tmp_path / "model.tflite", quantize, report)


def test_images_to_compare_on_are_at_the_size_of_the_model(model):
    samples = phantom_samples(hip, (64, 96), 0, range(40))
    against, spacing = predict_held_out(model, hip, samples)
    assert against.source == "32 test images" and against.images.dtype == np.float32
    assert against.images.shape == (32, *SIZE, 3) and against.truths.shape == (32, *SIZE, 3)
    image, masks = samples[31].read()
    # half the size: by area, so the mean of four pixels
    quarters = image.reshape(32, 2, 48, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(against.images[31], quarters, atol=1)
    covered = masks.reshape(32, 2, 48, 2, 3).mean(axis=(1, 3))
    np.testing.assert_array_equal(against.truths[31], covered >= 0.5)
    np.testing.assert_allclose(
        against.probabilities, as_predictor(model).run(against.images), atol=1e-5
    )
    assert spacing == pytest.approx([2 * mm for mm in samples[0].spacing])
    unknown = [replace(sample, spacing=None) for sample in samples[:2]]
    assert predict_held_out(model, hip, unknown)[1] is None


def test_of_a_volume_the_slice_that_shows_most_counts(smallest):
    model = smallest((32, 32, 2), 2, normalization=prostate.normalization)
    masks = np.zeros((5, 32, 32, 2), "uint8")
    for i, side in enumerate((0, 4, 12, 8, 0)):
        masks[i, 8 : 8 + side, 8 : 8 + side, 0] = 1
    slices = np.repeat(np.arange(5, dtype="float32"), 32 * 32 * 2).reshape(5, 32, 32, 2)
    spacing = [extent / 32 for extent in prostate.field]
    sample = Sample("v", "v", (3.0, *spacing), lambda: (slices, masks), slices=5)
    against, found = predict_held_out(model, prostate, [sample])
    np.testing.assert_array_equal(against.images, slices[[2]])
    np.testing.assert_array_equal(against.truths, masks[[2]])
    assert found == pytest.approx(spacing)


def test_without_samples_the_images_are_noise_and_it_says_so(model):
    against, spacing = predict_held_out(model, hip, [])
    assert against.truths is None and spacing is None and against.source == "4 images of noise"
    assert against.images.shape == (4, *SIZE, 3)
    assert against.images.min() < 2 and against.images.max() > 253


@pytest.fixture(scope="module")
def model():
    return TransFuse(SMALLEST, (*SIZE, 3), 3)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two .tflite files, of a convolution each, as bytes: quickly made and not the same model."""
    folder, contents = tmp_path_factory.mktemp("convolutions"), []
    for seed in range(2):
        start = keras.initializers.GlorotUniform(seed)
        image = keras.Input((*SIZE, 3))
        x = keras.layers.Rescaling(1 / 127.5, offset=-1)(image)
        x = keras.layers.Conv2D(3, 3, padding="same", kernel_initializer=start)(x)
        convolution = keras.Model(image, keras.layers.Activation("sigmoid")(x))
        signature = [keras.InputSpec("float32", (1, *SIZE, 3))]
        path = folder / f"{seed}.tflite"
        convolution.export(path, format="litert", input_signature=signature, verbose=False)
        contents.append(path.read_bytes())
    return contents


@pytest.fixture(scope="module")
def against(files, tmp_path_factory):
    """HeldOut with the probabilities of the first file, and truths that it meets."""
    path = tmp_path_factory.mktemp("against") / "model.tflite"
    path.write_bytes(files[0])
    images = np.random.default_rng(0).uniform(0, 255, (3, *SIZE, 3)).astype("float32")
    probabilities = load_predictor(path).run(images)
    truths = (probabilities > 0.5).astype("uint8")
    return HeldOut(images, truths, probabilities, "3 test images")


ORIGIN = ModelFacts(hip, dict.fromkeys(hip.classes, 0.5))


def writing(content):
    """What stands in FORMATS for an export that writes these bytes, whatever the model is."""

    def export(model, path, quantize="none"):
        path.write_bytes(content)

    return export, "model.tflite", tuple(BUDGETS)


def held_open(folder):
    """Names of the files in a folder that this process has open or mapped."""
    process = psutil.Process()
    paths = {Path(x.path) for x in (*process.open_files(), *process.memory_maps())}
    return {path.name for path in paths if path.parent == folder}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_file_within_its_budget_is_kept_with_what_was_verified(
    model, files, against, tmp_path, monkeypatch, capsys
):
    path = tmp_path / "model.tflite"
    (tmp_path / "export.json").write_text('{"model.onnx": {"dice": 0.5}}')
    monkeypatch.setitem(FORMATS, "litert", writing(files[0]))
    export_verified(model, path, "litert", "none", against, ORIGIN)
    np.testing.assert_array_equal(load_predictor(path).run(against.images), against.probabilities)
    assert set(contents(tmp_path)) == {"model.tflite", "model.tflite.json", "export.json"}
    rows = json.loads((tmp_path / "export.json").read_text())
    assert rows["model.onnx"] == {"dice": 0.5}
    assert rows["model.tflite"]["largest_difference"] < 1e-6 and rows["model.tflite"]["dice"] == 1
    sidecar = json.loads((tmp_path / "model.tflite.json").read_text())
    assert sidecar.pop("sha256")["model.tflite"] == compute_digest(path)
    assert sidecar == {**read_embedded(path), "verified": rows["model.tflite"]}
    assert "Dice 1.0000 on 3 " in capsys.readouterr().out


@pytest.mark.parametrize("quantize", BUDGETS)
@pytest.mark.parametrize("there", [False, True], ids=["new", "there before"])
def test_another_model_is_not_kept(quantize, there, model, files, against, tmp_path, monkeypatch):
    """Neither file nor sidecar nor leftovers, and what was there before stays as it was."""
    path = tmp_path / "model.tflite"
    if there:
        for name in ("model.tflite", "model.tflite.json", "export.json"):
            (tmp_path / name).write_text("{}")
    before = contents(tmp_path)
    monkeypatch.setitem(FORMATS, "litert", writing(files[1]))
    with pytest.raises(OverBudget, match=r"^model.tflite is not the same model"):
        export_verified(model, path, "litert", quantize, against, ORIGIN)
    assert contents(tmp_path) == before


def write_product(model, path):
    """An OpenVINO model of one matrix product, whatever the model is."""
    import openvino
    from openvino import opset13 as opset

    image = opset.parameter([-1, *SIZE, 3], np.float32, "image")
    weights = opset.constant(np.random.default_rng(0).random((3, 3), "float32"))
    openvino.save_model(openvino.Model([opset.matmul(image, weights, False, False)], [image]), path)


@pytest.mark.parametrize("name", ["litert", "openvino"])
def test_no_runtime_holds_a_file_that_is_renamed(
    name, model, files, against, tmp_path, monkeypatch
):
    """Both map the file that they run, and Windows renames no file that is mapped."""
    formats = {"litert": writing(files[0]), "openvino": (write_product, "model.xml", ("none",))}
    monkeypatch.setitem(FORMATS, name, formats[name])
    held = []

    def look(*arguments):
        held.append(held_open(tmp_path))

    monkeypatch.setattr(verification, "check_budget", look)
    (tmp_path / "own.tflite").write_bytes(files[0])
    predictor = load_predictor(tmp_path / "own.tflite")
    assert held_open(tmp_path) == {"own.tflite"} and predictor  # as a runtime that runs does
    export_verified(model, tmp_path / formats[name][1], name, "none", against, ORIGIN)
    assert held == [{"own.tflite"}]


@pytest.mark.parametrize("there", [False, True], ids=["new", "there before"])
def test_of_an_openvino_model_neither_file_is_kept(there, model, against, tmp_path, monkeypatch):
    if there:
        for name in ("model.xml", "model.bin", "model.xml.json"):
            (tmp_path / name).write_text("before")
    before = contents(tmp_path)
    monkeypatch.setitem(FORMATS, "openvino", (write_product, "model.xml", ("none",)))
    arguments = (tmp_path / "model.xml", "openvino", "none", against, ORIGIN)
    with pytest.raises(OverBudget, match=r"^model.xml is not the same"):
        export_verified(model, *arguments)
    assert contents(tmp_path) == before


def test_the_scores_of_a_run_outlive_an_export_that_failed(model, tmp_path, monkeypatch):
    def fail(*arguments):
        raise OverBudget("model.tflite is not the same model")

    monkeypatch.setattr(model, "variant", "smallest")
    monkeypatch.setattr(finish, "export_verified", fail)
    splits = {"val": [], "test": phantom_samples(hip, SIZE, 0, range(2))}
    with pytest.raises(OverBudget):
        finish.write_results(tmp_path, model, hip, splits, "phantom")
    assert json.loads((tmp_path / "metrics.json").read_text())["n"] == 2
    assert (tmp_path / "report.html").is_file()


def test_the_command_line_tells_it_in_one_sentence(model, files, tmp_path, monkeypatch, capsys):
    run = phantom_run(tmp_path, model, hip)
    before = contents(run)
    monkeypatch.setitem(FORMATS, "litert", writing(files[1]))
    assert main(["export", "--model", str(run), "--format", "litert"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("transfuse: model.tflite ") and "largest difference" in line
    assert "at most 0.0001" in line and "not kept" in line
    assert contents(run) == before
