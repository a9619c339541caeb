"""evaluate, report, compare and cross-validation from the command line, on an untrained model."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import SMALLEST_UNET
from data.files import binary_folder, hip_folder

from transfuse_keras import commands
from transfuse_keras.cli import main
from transfuse_keras.data.splits import find_splits
from transfuse_keras.errors import InputError
from transfuse_keras.evaluation import evaluate_model
from transfuse_keras.files import write_json
from transfuse_keras.inference import predict
from transfuse_keras.inference.shard import parse_shard
from transfuse_keras.model.transfuse import TransFuse
from transfuse_keras.model.variants import VARIANTS
from transfuse_keras.runs.folder import write_split
from transfuse_keras.runs.settings import Settings, describe_settings
from transfuse_keras.runs.trust import Trust, write_trust
from transfuse_keras.tasks import hip, polyp


def make_run(folder, task, data):
    """What a training that was not worth it leaves: a random model, its settings and split."""
    recipe = {"image_size": (32, 32), "variant": "smallest"}
    settings = task.recipe.__class__(**{**task.recipe.__dict__, **recipe})
    TransFuse(SMALLEST_UNET, (32, 32, 3), len(task.classes)).save(folder / "model.keras")
    write_json(folder / "config.json", describe_settings(Settings(task, data, settings)))
    write_split(folder / "split.csv", find_splits(task, data))
    return folder


@pytest.fixture(scope="module")
def hips(tmp_path_factory):
    """(run folder, its data)."""
    folder = tmp_path_factory.mktemp("hips")
    data = hip_folder(folder / "data")
    (folder / "run").mkdir()
    return make_run(folder / "run", hip, data), data


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def evaluate(run, *arguments):
    return main(["evaluate", "--model", str(run), *map(str, arguments)])


@pytest.mark.parametrize("out", [None, "scores"])
def test_evaluations_that_run_at_once_share_no_folder(hips, monkeypatch, tmp_path, capsys, out):
    found, options = [], ["--out", tmp_path / out] if out else []

    def score(folder, *_):
        found.append(folder)
        if len(found) == 1:
            assert evaluate(hips[0], *options) == 2
        raise InputError("enough")

    monkeypatch.setattr(evaluate_model, "load_members", lambda *_: [None])
    monkeypatch.setattr(evaluate_model, "score_samples", score)
    assert evaluate(hips[0], *options) == 2
    assert len(set(found)) == len(found) == (1 if out else 2)
    assert ("scores" in capsys.readouterr().err) == (out is not None)
    assert [folder.exists() for folder in found] == [out is not None] * len(found)


@pytest.mark.slow
def test_of_its_own_data_only_the_test_split_is_scored(hips):
    run, data = hips
    tested = {
        row["sample"]
        for row in csv.DictReader((run / "split.csv").open())
        if row["split"] == "test"
    }
    assert evaluate(run) == 0
    assert evaluate(run, "--data", data) == 0
    first, second = (run / "evaluations" / name for name in ("data", "data-2"))
    for folder in (first, second):
        with (folder / "cases.csv").open() as file:
            assert {row["case"] for row in csv.DictReader(file)} == tested
        assert (folder / "report.html").is_file() and (folder / "overlays").is_dir()
    a, b = metrics_of(first), metrics_of(second)
    assert a["mean"] == b["mean"] and a["unit"] == "px" and a["n"] == len(tested) == 2
    assert "threshold 0.5" in a["protocol"] and a["task"] == "hip"


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("config.json", lambda text: text.replace('"seed"', '"sead"')),
        ("config.json", lambda text: text.replace('"smallest"', "{}").replace("32,", "null,")),
        ("config.json", lambda text: text[:-9]),
        ("split.csv", lambda text: text.replace("sample", "picture")),
        ("split.csv", lambda text: text.rpartition(",")[0]),
    ],
)
def test_a_damaged_file_of_a_run_is_named(hips, tmp_path, capsys, name, damage):
    run = tmp_path / "run"
    shutil.copytree(hips[0], run, ignore=shutil.ignore_patterns("evaluations"))
    (run / name).write_text(damage((run / name).read_text()))
    capsys.readouterr()
    assert evaluate(run) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"transfuse: {run / name}: ") and said.count("\n") == 1
    assert not (run / "evaluations").exists()


def test_other_data_is_scored_as_a_whole_and_in_mm(hips, tmp_path):
    run, _ = hips
    other = hip_folder(tmp_path / "other", patients=2)
    out = tmp_path / "out"
    assert evaluate(run, "--data", other, "--spacing", 0.25, 0.5, "--out", out) == 0
    metrics = metrics_of(out)
    assert metrics["n"] == 4 and metrics["unit"] == "mm" and "hd_mm" in metrics["mean"]
    assert evaluate(run, "--data", other, "--out", out) == 2  # taken


@pytest.mark.slow
def test_several_test_sets_at_once(tmp_path):
    data = tmp_path / "data"
    binary_folder(data / "TrainDataset", [f"a{i}" for i in range(16)], "image", "mask")
    for number, name in enumerate(("Kvasir", "ETIS")):
        binary_folder(data / "TestDataset" / name, ["1", "2", "3"], start=20 + 3 * number)
    (tmp_path / "run").mkdir()
    run = make_run(tmp_path / "run", polyp, data)
    assert evaluate(run, "--out", tmp_path / "out") == 0
    metrics = metrics_of(tmp_path / "out")
    sets = metrics["sets"]
    assert set(sets) == {"TestDataset/Kvasir", "TestDataset/ETIS"}
    assert [part["n"] for part in sets.values()] == [3, 3] and metrics["n"] == 6
    by_set = np.mean([part["mean"]["pranet_dice"] for part in sets.values()])
    assert metrics["mean"]["pranet_dice"] == pytest.approx(by_set)
    assert evaluate(run, "--data", data / "TestDataset", "--out", tmp_path / "five") == 0
    assert set(metrics_of(tmp_path / "five")["sets"]) == {"Kvasir", "ETIS"}


@pytest.mark.slow
def test_thresholds_chosen_on_validation_stay_with_the_run(hips, tmp_path, capsys):
    run, data = hips
    assert evaluate(run, "--threshold", "auto", "--out", tmp_path / "auto") == 0
    kept = json.loads((run / "threshold.json").read_text())["thresholds"]
    assert list(kept) == list(hip.classes)
    assert all(0.05 <= value <= 0.95 for value in kept.values())
    assert evaluate(run, "--out", tmp_path / "after") == 0
    assert metrics_of(tmp_path / "after")["thresholds"] == kept
    assert evaluate(run, "--threshold", 0.5, "--out", tmp_path / "given") == 0
    assert set(metrics_of(tmp_path / "given")["thresholds"].values()) == {0.5}
    capsys.readouterr()
    for wrong in ("2", "best", "nan"):
        assert evaluate(run, "--threshold", wrong, "--out", tmp_path / "x") == 2
        assert f"--threshold {wrong}: give a number" in capsys.readouterr().err
    (run / "threshold.json").unlink()


@pytest.mark.slow
def test_a_model_without_its_run_needs_task_and_data(hips, tmp_path, capsys):
    run, data = hips
    lone = tmp_path / "a" / "b" / "c" / "lone.keras"
    lone.parent.mkdir(parents=True)
    lone.write_bytes((run / "model.keras").read_bytes())
    assert evaluate(lone, "--data", data) == 2
    said = capsys.readouterr().err
    assert "lone.keras: " in said and "no run folder" in said
    assert evaluate(lone, "--data", data, "--task", "polyp") == 2
    said = capsys.readouterr().err
    assert "3 maps" in said and "polyp" in said and "3 and 1" in said
    out = tmp_path / "out"
    assert evaluate(lone, "--data", data, "--task", "hip", "--out", out) == 0
    assert metrics_of(out)["n"] == 12


@pytest.mark.slow
def test_report_and_compare(hips, tmp_path, capsys):
    run, data = hips
    for name, flip in (("plain", "none"), ("flipped", "h")):
        assert evaluate(run, "--flip", flip, "--out", tmp_path / name) == 0
    page = tmp_path / "plain" / "report.html"
    before = page.read_text()
    page.unlink()
    assert main(["report", str(tmp_path / "plain")]) == 0
    assert page.read_text() == before
    assert "mean over mirror images (h)" in metrics_of(tmp_path / "flipped")["protocol"]
    assert main(["compare", str(tmp_path / "plain"), str(tmp_path / "plain")]) == 0
    assert "+0.0000" in capsys.readouterr().out
    assert main(["report", str(tmp_path)]) == 2
    assert "metrics.json" in capsys.readouterr().err


def test_predict_gives_the_masks_that_were_scored(hips, tmp_path):
    run, data = hips
    command = ["predict", "--model", str(run), "--input", str(data / "images" / "p0*.png")]
    assert main([*command, "--out", str(tmp_path)]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"p0_s{k}_{name}.png" for k in range(2) for name in (*hip.classes, "overlay")}
    mask = cv2.imread(str(tmp_path / "p0_s1_pelvis.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (30, 40) and set(np.unique(mask)) <= {0, 255}


@pytest.mark.release
def test_two_folds(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(VARIANTS, "smallest", SMALLEST_UNET)
    data = hip_folder(tmp_path / "data", patients=8)
    out = tmp_path / "cv"
    command = ["train", "--task", "hip", "--data", data, "--variant", "smallest"]
    command += ["--image-size", 32, 32, "--epochs", 1, "--folds", 2, "--out", out]
    command += ["--no-export", "--no-report"]
    command = list(map(str, command))
    assert main(command) == 0
    metrics = metrics_of(out)
    assert metrics["n"] == 16 and [fold["n"] for fold in metrics["folds"]] == [8, 8]
    splits = [
        {
            row["sample"]
            for row in csv.DictReader((out / f"fold-{k}" / "split.csv").open())
            if row["split"] == "test"
        }
        for k in range(2)
    ]
    assert not splits[0] & splits[1] and len(splits[0] | splits[1]) == 16
    assert main(command) == 2 and "or --resume" in capsys.readouterr().err
    (out / "fold-1" / "metrics.json").unlink()  # as if it had been stopped
    (out / "metrics.json").unlink()
    assert main([*command, "--resume"]) == 0
    assert "Fold 0 (of 0 to 1): done" in capsys.readouterr().out
    assert metrics_of(out)["n"] == 16


def test_what_needs_an_export_is_handed_over_to_tensorflow(monkeypatch, tmp_path):
    from transfuse_keras.training import train

    asked = []
    monkeypatch.setattr(commands, "backend", lambda: "jax")
    monkeypatch.setattr(train, "run_by", lambda *x: asked.append(x) or 3)
    given = ["export", "--model", str(tmp_path), "--format", "onnx", "--quantize", "none"]
    assert main(given) == 3 and asked == [("tensorflow", given)]
    given = ["benchmark", "--model", str(tmp_path), "--image-size", "48", "64", "--rounds", "2"]
    assert main(given) == 3 and asked[1] == ("tensorflow", given)


def assert_near(ours, theirs):
    """Sums in another order differ in the last digits."""
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for key in theirs:
            assert_near(ours[key], theirs[key])
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_near(one, other)
    else:
        assert ours == (pytest.approx(theirs) if isinstance(theirs, float) else theirs)


@pytest.mark.slow
def test_shards_together_are_the_whole(hips, tmp_path, monkeypatch, capsys):
    """Tables, scores and pictures of three shards, one of them done twice, as of one evaluation.

    Image by image: a batch of others is rounded otherwise.
    """
    monkeypatch.setattr(predict, "AT_ONCE", 1)
    run, data = shutil.copytree(hips[0], tmp_path / "run"), hips[1]
    line = {name: (0.5, 0.2) for name in hip.classes}
    ranges = {"height / width": (0.0, 1.0)}
    write_trust(run, Trust(9, dict.fromkeys(hip.classes, 1.5), line, 0.4, ranges))
    assert evaluate(run, "--data", data, "--all", "--out", tmp_path / "whole") == 0
    given = ["--data", data, "--all", "--out", tmp_path / "parts", "--shard"]
    for shard in ("2/3", "0/3"):
        assert evaluate(run, *given, shard) == 0
    merge = ["evaluate", "--merge", str(tmp_path / "parts")]
    assert main(merge) == 2
    assert "shard-1-of-3" in capsys.readouterr().err
    assert evaluate(run, *given, "2/3", "--threshold", 0.4) == 2  # not the one that is there
    assert "thresholds" in capsys.readouterr().err
    assert evaluate(run, *given, "1/3") == evaluate(run, *given, "2/3") == 0
    assert "nothing left" in capsys.readouterr().out
    assert main(merge) == 0

    whole, parts = (metrics_of(tmp_path / name) for name in ("whole", "parts"))
    for metrics in (whole, parts):
        del metrics["seconds_per_case"]
    assert parts["trust"].pop("unlike_training") == whole["trust"].pop("unlike_training")
    assert_near(parts, whole)
    for name in ("cases.csv", "quality.csv"):
        first, second = ((tmp_path / x / name).read_text() for x in ("whole", "parts"))
        assert second == first
    index = [(tmp_path / x / "pictures" / "index.json").read_text() for x in ("whole", "parts")]
    cases = [[entry["case"] for entry in json.loads(text)] for text in index]
    assert cases[1] == sorted(cases[0])
    assert (tmp_path / "parts" / "report.html").is_file()


def test_what_is_no_shard_is_refused(hips, capsys):
    run, _ = hips
    for text in ("3/3", "1", "-1/3", "a/b", "1/0", "auto", "auto/3"):
        assert evaluate(run, "--out", "x", f"--shard={text}") == 2
        assert "--shard" in capsys.readouterr().err


def test_a_task_of_a_cluster_knows_its_shard(monkeypatch, capsys):
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "2")
    assert parse_shard("auto/8") == (2, 8)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "1")  # of --array=7, which repeats one of eight
    assert parse_shard("auto/8") == (7, 8)
    assert "7 of 8" in capsys.readouterr().out
    with pytest.raises(InputError, match="8/8"):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "8")
        parse_shard("auto/8")


@pytest.mark.slow
def test_shards_of_a_prediction_write_what_one_writes(hips, tmp_path):
    run, data = hips
    images = data / "images"
    for out, shards in (("whole", [[]]), ("parts", [["--shard", "0/2"], ["--shard", "1/2"]])):
        for shard in shards:
            given = ["--model", str(run), "--input", str(images), "--out", str(tmp_path / out)]
            assert main(["predict", *given, *shard, "--no-overlays", "--measure"]) == 0
    whole, parts = (
        {path.name: path.read_bytes() for path in (tmp_path / x).glob("*.png")}
        for x in ("whole", "parts")
    )
    assert parts == whole and len(whole) > 5
    rows = [(tmp_path / "whole" / "measurements.csv").read_text().splitlines()]
    rows += [
        (tmp_path / "parts" / f"{index}-of-2-measurements.csv").read_text().splitlines()
        for index in range(2)
    ]
    assert sorted(rows[1] + rows[2][1:]) == sorted(rows[0])


@pytest.mark.release
def test_ray_predicts_a_folder_as_one_process_does(hips, tmp_path):
    pytest.importorskip("ray")
    images = hips[1] / "images"
    given = ["--model", hips[0], "--input", images, "--out"]
    assert main([*map(str, ["predict", *given, tmp_path / "one"])]) == 0
    root = Path(__file__).parents[1]
    example = [sys.executable, root / "examples" / "ray_predict.py", *given, tmp_path / "ray"]
    environment = {**os.environ, "PYTHONPATH": str(root), "RAY_USAGE_STATS_ENABLED": "0"}
    subprocess.run([*example, "--workers", "2", "--shards", "3"], env=environment, check=True)
    masks = sorted(path.name for path in (tmp_path / "one").glob("*.png"))
    assert masks and masks == sorted(path.name for path in (tmp_path / "ray").glob("*.png"))
    for name in masks:
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
