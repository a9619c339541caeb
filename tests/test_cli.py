import json
import re

import cv2
import keras
import numpy as np
import pytest
from conftest import SMALLEST, SMALLEST_UNET

import transfuse_keras as tk
from benchmarks.reliability.runs import weights_of
from transfuse_keras.cli import main
from transfuse_keras.inference import runtimes
from transfuse_keras.model.variants import VARIANTS
from transfuse_keras.runs.sessions import read_sessions
from transfuse_keras.training import callbacks, fit


@pytest.fixture(scope="module", autouse=True)
def smallest_variant():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(VARIANTS, "smallest", SMALLEST)
        yield


def train(*arguments, task="hip"):
    given = ["--task", str(task), "--variant", "smallest", "--image-size", "32", "32"]
    return main(["train", *given, "--epochs", "1", "--limit", "16", *map(str, arguments)])


@pytest.fixture(scope="session")
def run(reference):
    """A complete run on phantoms by the smallest model."""
    return reference[1]


def test_the_run_folder_is_whole(run):
    files = {path.name for path in run.iterdir()}
    assert files == {
        *("config.json", "split.csv", "log.txt", "logs", "history.csv", "model.keras"),
        "checkpoints",  # which this run keeps
        *("trust.json", "quality.csv", "components.json"),
        *(
            "cases.csv",
            "overlays",
            "pictures",
            "report.html",
            "metrics.json",
            "sessions.json",
            "live.png",
        ),
        *("saved_model", "saved_model.json", "model.tflite", "model.tflite.json", "export.json"),
    }
    assert not list(run.rglob("*.part*"))
    header, *rows = (run / "history.csv").read_text().splitlines()
    assert header.startswith("epoch,") and [row[:2] for row in rows] == ["1,", "2,", "3,", "4,"]
    assert any((run / "logs").rglob("events*"))


def test_metrics_name_what_was_measured(run):
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["data"] == "phantom" and metrics["task"] == "hip"
    assert metrics["variant"] == "smallest" and metrics["n"] == 4
    assert set(metrics["classes"]) == set(metrics["undefined"]) == set(tk.tasks.hip.classes)
    assert set(metrics["mean"]) == {
        *("dice", "iou", "accuracy", "precision", "recall"),
        *("hd_mm", "hd95_mm", "asd_mm", "assd_mm"),
        *("penalized_hd_mm", "penalized_hd95_mm", "penalized_asd_mm", "penalized_assd_mm"),
    }
    assert "threshold 0.5" in metrics["protocol"]


def test_config_repeats_the_run(run):
    config = json.loads((run / "config.json").read_text())
    assert config["data"] == "phantom" and config["seed"] == 0 and config["limit"] == 17
    assert config["recipe"]["epochs"] == 4 and config["recipe"]["image_size"] == [32, 32]
    assert config["versions"]["keras"] == keras.__version__
    split = (run / "split.csv").read_text().splitlines()
    assert sum(line.startswith("train,") for line in split) == 17
    (session,) = read_sessions(run)
    assert session["seconds"] > 0 and session["processor_seconds"] > 0


@pytest.mark.release
def test_a_run_leaves_for_pytorch_and_comes_back(run, tmp_path, capsys):
    formats = ["pytorch", "litert"]
    assert main(["export", "--model", str(run), "--format", *formats, "--out", str(tmp_path)]) == 0
    files = {"model.safetensors", "model.tflite", "model.tflite.json", "export.json"}
    assert {path.name for path in tmp_path.iterdir()} == files
    model = keras.saving.load_model(run / "model.keras")
    back = tk.TransFuse(SMALLEST, (32, 32, 3), 3, weights=tmp_path / "model.safetensors")
    for ours, theirs in zip(back.weights, model.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)

    assert main(["export", "--model", str(tmp_path), "--format", "pytorch"]) == 2
    assert f"{tmp_path / 'model.keras'}: no such model" in capsys.readouterr().err


@pytest.mark.slow
def test_training_starts_from_a_run(run, reference, tmp_path, monkeypatch):
    """The first epoch at learning rate ~0 leaves the weights that training started from."""
    monkeypatch.chdir(tmp_path)
    given = ["--weights", run, "--lr", 1e-30, "--image-size", 48, 32, "--epochs", 1]
    small = reference[0] / "task.py"  # with few images
    given += ["--val", "none", "--skip-heads", "--no-export", "--no-report"]
    assert train(*given, task=small) == 0
    folder = tmp_path / "savedmodels" / "hip"
    written = {path.name for path in folder.iterdir()}
    assert "metrics.json" in written
    assert not written & {"saved_model", "model.tflite", "export.json", "report.html"}
    config = json.loads((folder / "config.json").read_text())
    assert config["weights"] == str(run) and config["skip_heads"]
    started, own = (weights_of(path / "model.keras") for path in (folder, run))
    positions = "layers/functional/layers/patch_embedding/vars/0"
    kernels = {name for name, values in own.items() if values.ndim == 4} - {positions}
    heads = {name for name in kernels if name.startswith("layers/head")}
    assert len(heads) == 7 and len(kernels) > 30
    for name in kernels - heads:
        np.testing.assert_array_equal(started[name], own[name], err_msg=name)
    assert all((started[name] != own[name]).any() for name in heads)


def test_every_format_gives_the_same_mask(run):
    images, _, _ = tk.phantoms("hip", 4, (32, 32), seed=9)
    model = keras.saving.load_model(run / "model.keras")
    shape, saved_model = runtimes.saved_model(run / "saved_model")
    litert_shape, litert = runtimes.litert(run / "model.tflite")
    assert list(shape) == list(litert_shape) == [32, 32, 3]
    for image in images:
        wanted = tk.predict(model, image)
        pixels = image[None].astype("float32")
        np.testing.assert_allclose(saved_model(pixels)[0], wanted, atol=1e-5)
        np.testing.assert_allclose(litert(pixels)[0], wanted, atol=1e-5)
    assert saved_model(images.astype("float32")).shape == (4, 32, 32, 3)  # a free batch
    exports = json.loads((run / "export.json").read_text())
    assert max(row["largest_difference"] for row in exports.values()) < 1e-4


def test_litert_has_builtin_operations_only(run):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(run / "model.tflite"))
    assert interpreter.get_input_details()[0]["shape"].tolist() == [1, 32, 32, 3]
    names = {operation["op_name"] for operation in interpreter._get_ops_details()}
    assert not [name for name in names if name.startswith("Flex") or name == "CUSTOM"]
    assert not names & {"SHAPE", "GATHER", "PACK"}


def test_overlays_and_report_show_cases(run):
    pictures = sorted((run / "overlays").glob("*.png"))
    assert len(pictures) == 6  # the best, the median and, of four, the worst
    assert all(cv2.imread(str(path)).shape == (384, 384, 3) for path in pictures)
    page = (run / "report.html").read_text()
    assert page.count("<figure>") == 4 and "phantom" in page
    text = re.sub('base64,[^"]*', "", page).replace("http://www.w3.org/2000/svg", "")
    assert "http" not in text  # self-contained
    scores = json.loads((run / "metrics.json").read_text())
    assert f"<td>{scores['mean']['dice']:.3f}</td>" in page


def hip_folder(folder, patients=4):
    """Phantoms as a folder of label maps."""
    images, masks, _ = tk.phantoms("hip", 2 * patients, (48, 64))
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for i, (image, mask) in enumerate(zip(images, masks, strict=True)):
        stem = f"p{i // 2}_s{i % 2}"
        cv2.imwrite(str(folder / "images" / f"{stem}.png"), image)
        labels = (mask * [1, 2, 3]).max(axis=-1).astype("uint8")
        cv2.imwrite(str(folder / "masks" / f"{stem}.png"), labels)
    return folder


def damage(folder, what):
    data = hip_folder(folder / "data")
    if what == "no folder":
        return ["--data", folder / "absent"]
    if what == "no mask":
        (data / "masks" / "p0_s0.png").unlink()
    elif what == "label":
        cv2.imwrite(str(data / "masks" / "p0_s0.png"), np.full((48, 64), 9, "uint8"))
    elif what == "unreadable":
        (data / "images" / "p0_s0.png").write_text("no")
    elif what == "size":
        cv2.imwrite(str(data / "masks" / "p0_s0.png"), np.zeros((48, 65), "uint8"))
    elif what == "no layout":
        (data / "images").rename(data / "pictures")
    elif what == "copy":  # the same pixels in another file type, of patients that are split apart
        pixels = cv2.imread(str(data / "images" / "p0_s0.png"))
        for patient, suffix in ((1, "bmp"), (2, "tif"), (3, "tiff")):
            (data / "images" / f"p{patient}_s0.png").unlink()
            settings = [cv2.IMWRITE_TIFF_COMPRESSION, 1] if suffix == "tiff" else []
            cv2.imwrite(str(data / "images" / f"p{patient}_s0.{suffix}"), pixels, settings)
    elif what == "spacing":
        return ["--data", data, "--spacing", "0"]
    elif what == "weights":
        return ["--data", data, "--weights", folder / "absent.npz"]
    return ["--data", data]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no folder", "absent: no such folder"),
        ("no mask", "p0_s0.png: has no mask"),
        ("label", "p0_s0.png: holds the label 9"),
        ("unreadable", "p0_s0.png: not a readable image"),
        ("size", "p0_s0.png: is 65x48 pixels"),
        ("no layout", "data: no known layout"),
        ("copy", "same image"),
        ("spacing", "--spacing is 0 x 0 mm"),
        ("weights", "absent.npz: no such weights file"),
    ],
)
def test_bad_data_is_one_sentence_and_nothing_written(tmp_path, capsys, what, message):
    assert train(*damage(tmp_path, what), "--out", tmp_path / "run") == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1 and message in error[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "knee"], "Unknown task 'knee'"),
        (["--variant", "XL"], "Unknown variant 'XL'"),
        (["--image-size", "30", "32"], "multiples of 16"),
        (["--epochs", "0"], "epochs must be positive"),
        (["--batch-size", "-1"], "batch size must"),
        (["--limit", "0"], "limit must"),
        (["--lr", "nan"], "learning rate must"),
        (["--seed", "-1"], "seed must"),
        (["--weights", "model.doc"], "weights from '.doc'"),
    ],
)
def test_bad_arguments_are_one_sentence(tmp_path, capsys, arguments, message):
    assert train(*arguments, "--out", tmp_path / "run") == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1 and message in error[0]
    assert not (tmp_path / "run").exists()


def test_arguments_of_the_wrong_kind_are_one_sentence(capsys):
    with pytest.raises(SystemExit) as stop:
        train("--epochs", "many")
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("transfuse train: ") and error.count("\n") == 1
    assert "--epochs" in error and "'many'" in error


def test_a_folder_that_holds_something_else_is_refused(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("precious")
    assert train("--out", tmp_path) == 2
    assert "something else" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


class Raise(keras.callbacks.Callback):
    """Raise an error after the first batch of the second epoch."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == 1:
            raise self.error


@pytest.mark.slow
def test_interruption_leaves_the_best_model(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fit, "StopOnNonFiniteLoss", lambda: Raise(KeyboardInterrupt))
    monkeypatch.setitem(VARIANTS, "smallest", SMALLEST_UNET)
    assert train("--epochs", 3, "--out", tmp_path / "run") == 130
    assert "interrupted" in capsys.readouterr().err
    assert isinstance(keras.saving.load_model(tmp_path / "run" / "model.keras"), tk.TransFuse)
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_a_non_finite_loss_stops_and_names_the_step(smallest):
    images = np.ones((4, 32, 32, 3), "float32")
    images[3] = np.nan
    model = smallest((32, 32, 3))
    model.compile("adam", run_eagerly=True)
    stop = callbacks.StopOnNonFiniteLoss()
    with pytest.raises(callbacks.NonFiniteLoss, match="nan .*step 2 of epoch 1"):
        masks = np.zeros((4, 32, 32, 1), "float32")
        model.fit(images, masks, batch_size=2, shuffle=False, callbacks=[stop], verbose=0)
