"""What trackers are told, read back by their own libraries, is the history of the run.

That a training tells them its history.csv is in test_time_limit.py, which trains.
"""

import csv
import importlib
import json
import sys

import pytest
from trackers import keep_here, read_mlflow, read_wandb

from transfuse_keras.cli import main
from transfuse_keras.errors import InputError
from transfuse_keras.files import write_json, write_table
from transfuse_keras.runs.options import parse_settings
from transfuse_keras.training.tracking import Trackers, find_trackers

HISTORY = [{"epoch": i, "loss": 1 / i, "val_mask_dice": 0.1 * i} for i in (1, 2, 3)]


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    keep_here(monkeypatch, tmp_path)


def tell(trackers, epoch, **numbers):
    trackers.tell(epoch, numbers)


def test_a_tracked_run_goes_on_in_the_same_one(tmp_path):
    settings, run = parse_settings({"task": "hip", "epochs": 3}), tmp_path / "run"
    run.mkdir()
    with Trackers(run, ["wandb"]) as trackers:
        trackers.begin(settings)
        for row in HISTORY[:2]:
            tell(trackers, **row)
    write_table(run / "history.csv", HISTORY[:2])
    begun = list(csv.DictReader((run / "history.csv").open()))
    ids = json.loads((run / "tracking.json").read_text())
    with Trackers(run, ["mlflow"]) as trackers:  # new, so it is told all
        trackers.begin(settings, begun)
        tell(trackers, **HISTORY[2])
    write_json(run / "metrics.json", {"mean": {"dice": 0.5, "hd95_mm": None}})
    with Trackers(run, []) as trackers:  # of another process
        trackers.tell_scores(settings)
    assert json.loads((run / "tracking.json").read_text())["wandb"] == ids["wandb"]
    config, rows, summary = read_wandb(run)
    assert rows == HISTORY and summary["test_dice"] == 0.5
    assert config["recipe"]["epochs"] == 3
    parameters, rows = read_mlflow(run)
    assert rows == [{"epoch": 0, "test_dice": 0.5}, *HISTORY]
    assert parameters["epochs"] == "3"


def test_a_tracker_that_fails_ends_no_training(tmp_path, caplog):
    settings = parse_settings({"task": "hip"})
    with Trackers(tmp_path, ["mlflow"]) as trackers:
        trackers.begin(settings)
        for path in (tmp_path / "store").iterdir():
            path.rename(tmp_path / path.name)
        for epoch in (1, 2):
            tell(trackers, epoch, loss=1.0)
    assert caplog.text.count("mlflow does not answer") == caplog.text.count("the end") == 1


def test_a_run_that_a_tracker_does_not_know_is_refused(tmp_path):
    write_json(tmp_path / "tracking.json", {"mlflow": "f" * 32})
    with Trackers(tmp_path, []) as trackers, pytest.raises(InputError, match="mlflow.*not found"):
        trackers.begin(parse_settings({"task": "hip"}))


def test_an_absent_library_is_told_at_once(tmp_path, monkeypatch, capsys):
    (tmp_path / "wandb").mkdir()  # what its runs leave where they are started
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    importlib.invalidate_caches()
    for name in ("wandb", "mlflow"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        assert main(["train", "--task", "hip", "--track", name, "--out", "run"]) == 2
        assert f"transfuse-keras[{name}]" in capsys.readouterr().err
    write_json(tmp_path / "tracking.json", {"wandb": "x"})
    with pytest.raises(InputError, match="remove .*tracking.json"):
        find_trackers([], [tmp_path])
