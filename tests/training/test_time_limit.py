"""A training ends in time, and measuring its steps leaves no trace in it."""

import csv
import json
from types import SimpleNamespace

import pytest
from conftest import SMALLEST
from data.files import hip_folder
from trackers import keep_here, read_mlflow, read_wandb

from transfuse_keras.cli import main
from transfuse_keras.errors import InputError
from transfuse_keras.files import write_json
from transfuse_keras.model.variants import VARIANTS
from transfuse_keras.runs.options import parse_duration, parse_settings
from transfuse_keras.training import fit, time_limit
from transfuse_keras.training.time_limit import EndInTime, limit_epochs, measure_epoch


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("1h30m", 5400), ("0.5h", 1800), ("90min", 5400), ("45 s", 45)],
)
def test_a_time_is_hours_minutes_and_seconds(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["2", "0h", "soon", "2h!", "-1h", ""])
def test_other_times_are_refused(text):
    with pytest.raises(InputError, match="--time-limit"):
        parse_duration(text)


def test_epochs_are_chosen_or_given():
    with pytest.raises(InputError, match="--epochs"):
        parse_settings({"task": "hip", "time_limit": "1h", "epochs": 3})
    assert parse_settings({"task": "hip", "time_limit": "1h"}).time_limit == 3600


def test_the_epochs_fill_the_time_but_a_tenth(caplog):
    assert limit_epochs(1000, used=100, epoch=90) == (8, 800)  # (900 - 100) / 90
    assert "8 epochs" in caplog.text
    with pytest.raises(InputError, match="--time-limit"):
        limit_epochs(1000, used=100, epoch=900)


def test_steps_are_measured_without_those_that_compile_and_the_weights_come_back(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time_limit.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(time_limit.keras.ops, "convert_to_numpy", lambda variable: variable)

    class Variable:
        value = 1

        def copy(self):
            return self.value

        def assign(self, value):
            self.value = value

    model = SimpleNamespace(variables=[Variable()], stop_training=False)

    def train(data, epochs, callbacks, **options):
        assert epochs == 3  # of 4 steps
        steps = 0
        callbacks[0].set_model(model)
        while not model.stop_training:
            clock[0] += 50 if steps < 2 else 2
            steps += 1
            model.variables[0].value += 1
            callbacks[0].on_train_batch_end(steps)
        assert steps == 10

    def validate(data, verbose):
        clock[0] += 5

    model.fit, model.evaluate = train, validate
    assert measure_epoch(model, None, "images", batches=4) == pytest.approx(4 * 2 + 5)
    assert model.variables[0].value == 1


def test_a_training_that_is_slower_than_measured_ends_early(monkeypatch, tmp_path, caplog):
    clock = [0.0]
    monkeypatch.setattr(time_limit.time, "perf_counter", lambda: clock[0])
    write_json(tmp_path / "config.json", {"recipe": {"epochs": 5}})
    callback, model = EndInTime(100, tmp_path), SimpleNamespace(stop_training=False)
    callback.set_model(model)
    callback.set_params({"epochs": 5})
    callback.on_train_begin()
    for epoch in range(2):
        assert not model.stop_training
        clock[0] += 35  # a third would end after 105
        callback.on_epoch_end(epoch)
    assert model.stop_training and "epoch 2" in caplog.text
    assert json.loads((tmp_path / "config.json").read_text())["recipe"]["epochs"] == 2


@pytest.mark.release
def test_a_run_of_chosen_epochs_is_that_of_given_ones(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(VARIANTS, "smallest", SMALLEST)
    data = hip_folder(tmp_path / "data")
    monkeypatch.setattr(fit, "measure_epoch", lambda *batches: (measure_epoch(*batches), 1000)[1])
    command = ["train", "--task", "hip", "--data", data, "--variant", "smallest", "--no-export"]
    command += ["--image-size", 32, 32, "--no-report", "--deterministic"]
    rows = []
    keep_here(monkeypatch, tmp_path)
    limit = ["--time-limit", "40m", "--track", "wandb", "mlflow"]
    for name, words in (("limit", limit), ("epochs", ["--epochs", 2])):
        out = tmp_path / name
        assert main([*map(str, [*command, "--out", out, *words])]) == 0
        rows.append(list(csv.DictReader((out / "history.csv").open())))
    assert "2 epochs" in capsys.readouterr().out
    for one, other in zip(*rows, strict=True):
        for key, value in one.items():
            assert float(value) == pytest.approx(float(other[key]), abs=1e-6), key
    config = json.loads((tmp_path / "limit" / "config.json").read_text())
    assert config["recipe"]["epochs"] == 2 and config["time_limit"] == 2400
    history = [{key: float(x) for key, x in row.items()} for row in rows[0]]
    mean = json.loads((tmp_path / "limit" / "metrics.json").read_text())["mean"]
    scores = {f"test_{key}": x for key, x in mean.items() if x is not None}
    _, told, summary = read_wandb(tmp_path / "limit")
    assert told == history and scores.items() <= summary.items()
    assert read_mlflow(tmp_path / "limit")[1] == [{"epoch": 0, **scores}, *history]
    again = ["train", "--resume", "--out", str(tmp_path / "limit"), "--time-limit"]
    assert main([*again, "40m"]) == 0 and main([*again, "1h"]) == 2
    assert "--time-limit" in capsys.readouterr().err
