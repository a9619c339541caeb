"""--resume and --from: what they refuse, and real runs that were killed, repeated or ran full."""

import json
import random
import time
from functools import partial
from pathlib import Path

import pytest

from benchmarks.reliability import kill, runs, storage
from transfuse_keras.cli import main
from transfuse_keras.data.splits import find_splits
from transfuse_keras.runs.folder import begin_run
from transfuse_keras.runs.settings import (
    Settings,
    describe_settings,
    log_other_versions,
    read_settings,
)
from transfuse_keras.tasks import hip, polyp, prostate
from transfuse_keras.training import train


@pytest.mark.parametrize("task", [hip, polyp, prostate])
def test_settings_come_back_from_config_json(tmp_path, task):
    settings = Settings(
        task, "data", weights="w.npz", seed=3, spacing=(0.5, 1.0), fold=(1, 5), jit="off"
    )
    begin_run(tmp_path / "run", settings, find_splits(hip))
    again = read_settings(tmp_path / "run" / "config.json")
    assert again.task == task and again.recipe == task.recipe and again.fold == (1, 5)
    assert describe_settings(again) == describe_settings(settings)


def test_other_versions_are_said(tmp_path, capsys):
    content = describe_settings(Settings(hip))
    content["versions"]["keras"] = "3.0.0"
    (tmp_path / "config.json").write_text(json.dumps(content))
    log_other_versions(tmp_path / "config.json")
    assert "keras 3.0.0, now 3." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--resume", "--out", "missing"], "missing: has no config.json"),
        (["--resume"], "by --out, or --task"),
        (["--resume", "--task", "hip"], "run in savedmodels/hip"),
        (["--resume", "--out", "run", "--epochs", "2"], "give more"),
        (["--resume", "--out", "run", "--epochs", "90"], "no checkpoint"),
        (["--resume", "--out", "run", "--patience", "9"], "--patience"),
        (["--task", "hip", "--val", "none", "--patience", "3"], "validation"),
        (["--from", "run/config.json", "--lr", "1"], "leave out --lr"),
        (["--from", "run/config.json", "--seed", "0"], "leave out --seed"),
        (["--from", "thesis.txt"], "thesis.txt: "),
        (["--task", "hip", "--out", "run"], "something else"),
        ([], "Give --task"),
        (["--task", "hip", "--coordinator", "here:1"], "go together"),
    ],
)
def test_what_cannot_be_resumed_or_repeated_is_one_sentence(
    tmp_path, monkeypatch, capsys, arguments, sentence
):
    monkeypatch.chdir(tmp_path)
    begin_run(tmp_path / "run", Settings(hip), find_splits(hip))
    (tmp_path / "thesis.txt").write_text("precious")
    assert main(["train", *arguments]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"run", "thesis.txt"}


def test_a_complete_run_has_nothing_left(tmp_path, capsys):
    begin_run(tmp_path, Settings(hip), find_splits(hip))
    (tmp_path / "metrics.json").write_text("{}")
    assert main(["train", "--resume", "--out", str(tmp_path)]) == 0
    assert "nothing left" in capsys.readouterr().out


@pytest.mark.parametrize("folds", [[], ["--folds", "2"]])
def test_a_run_that_goes_on_ends_as_it_was_to_end(tmp_path, monkeypatch, capsys, folds):
    asked, out = [], tmp_path / "run"

    def train_task(settings, run, resume, *_, **options):
        asked.append({name for name in ("export", "report") if not options[name]})
        if not resume:
            begin_run(Path(run), settings, find_splits(hip))
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train_task", train_task)
    begin, again = (["train", "--out", str(out), *x] for x in (["--task", "hip"], ["--resume"]))
    for options in ([*begin, "--no-export"], again, [*again, "--no-report"], again):
        main([*options, *folds])
    assert asked == [{"export"}, {"export"}, {"export", "report"}, {"export"}]
    assert capsys.readouterr().out.count("As the run was begun: --no-export.") == 3
    if not folds:  # another run by the same settings
        main(["train", "--from", str(out / "config.json"), "--out", f"{out}-2"])
        assert asked[4:] == [set()]


def test_a_run_does_not_go_on_with_other_data(tmp_path, capsys):
    settings = Settings(hip)
    splits = find_splits(hip)
    begin_run(tmp_path, settings, {**splits, "train": splits["train"][1:]})
    assert main(["train", "--resume", "--out", str(tmp_path)]) == 2
    assert "split.csv: the data" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_is_repeated_though_it_is_killed_and_its_last_checkpoint_is_damaged(
    reference, tmp_path
):
    """From its configuration, to the same weights; each alone is in `make release-check`."""
    run = tmp_path / "run"
    second, third = (run / "checkpoints" / f"epoch-{number:04}.keras" for number in (2, 3))
    config = reference[1] / "config.json"
    process = runs.start("train", "--from", config, "--out", run, *runs.UNTIL_SCORED)
    while not second.exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)
    process.kill()
    process.communicate()
    last = third if third.exists() else second
    storage.damage(last, random.Random(0), cut=True)
    code, output, errors = runs.finish(*runs.resume_arguments(run))
    assert code == 0, errors
    assert f"{last}: damaged" in output + errors
    assert max(runs.differences(run, reference[1]).values()) < storage.TOLERANCE
    assert not list(run.rglob(".part.*"))


@pytest.mark.release
def test_a_run_killed_several_times_ends_as_one_that_was_not(reference, tmp_path):
    run = tmp_path / "run"
    moments = [partial(kill.kill_while_writing, run=run, count=count) for count in (4, 5)]
    assert len(kill.interrupt(tmp_path, run, moments)) == 2
    found = runs.differences(run, reference[1])
    assert max(found.values()) < storage.TOLERANCE
    assert not list(run.rglob(".part.*"))


@pytest.mark.release
def test_a_run_is_repeated_from_its_configuration(reference, tmp_path):
    config = reference[1] / "config.json"
    code, _, errors = runs.finish(
        "train", "--from", config, "--out", tmp_path / "again", *runs.UNTIL_SCORED
    )
    assert code == 0, errors
    assert max(runs.differences(tmp_path / "again", reference[1]).values()) < storage.TOLERANCE


@pytest.mark.release
@pytest.mark.skipif(not storage.can_mount(), reason="mounting a small disk needs root")
def test_a_full_or_read_only_disk_loses_nothing(reference, tmp_path):
    full = storage.fill_the_disk(tmp_path, reference[1])
    assert full["lost"] == 0, full["said"]
    protected = storage.write_protect(tmp_path)
    assert protected["lost"] == 0, protected["said"]


@pytest.mark.release
def test_a_damaged_checkpoint_loses_nothing(reference, tmp_path):
    damaged = storage.damage_checkpoints(tmp_path, reference[1], times=1)
    assert damaged["lost"] == 0, damaged["said"]


@pytest.mark.release
def test_a_loss_that_is_nan_loses_nothing(tmp_path):
    nan = storage.lose_the_loss(tmp_path)
    assert nan["lost"] == 0, nan["said"]
