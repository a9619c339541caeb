import json
from dataclasses import replace

import pytest
from conftest import SMALLEST

from transfuse_keras.cli import main
from transfuse_keras.errors import InputError
from transfuse_keras.files import write_json, write_table
from transfuse_keras.model.variants import VARIANTS
from transfuse_keras.runs.settings import Settings, describe_settings
from transfuse_keras.tasks import TASKS
from transfuse_keras.tasks.task import Recipe
from transfuse_keras.training import ablation
from transfuse_keras.training.ablation import ablate, format_paper_table, same_model

RECIPE = Recipe("smallest", (32, 32), epochs=1, batch_size=8)


@pytest.fixture(autouse=True)
def smallest_variant(monkeypatch):
    monkeypatch.setitem(VARIANTS, "smallest", SMALLEST)


def settings(**arguments):
    return Settings(TASKS["polyp"], recipe=RECIPE, **arguments)


def leave_run(run, scores, patients=None):
    """What a complete run leaves: Dice by case, and the patient of each case."""
    run.mkdir(parents=True)
    rows = [
        {
            **{"case": case, **({"group": patients[case]} if patients else {})},
            **{"class": "polyp", "truth_empty": case == "Kvasir/empty"},
            **{"prediction_empty": False, "dice": score},
        }
        for case, score in scores.items()
    ]
    write_table(run / "cases.csv", rows)
    write_json(run / "metrics.json", {})


def test_rows_that_are_the_same_model_are_trained_once():
    assert [same_model(f"F.{i}") for i in (1, 2, 3, 4)] == ["E.5", "F.2", "F.3", "E.6"]


@pytest.mark.slow
def test_the_table_has_the_means_of_cases_and_seeds_and_a_dash(tmp_path):
    cases = {"Kvasir/a": 0.5, "Kvasir/b": 0.7, "Kvasir/empty": 0.0, "ColonDB/c": 0.25}
    leave_run(tmp_path / "E.6-seed0", cases)
    leave_run(tmp_path / "E.6-seed1", {case: score + 0.1 for case, score in cases.items()})
    leave_run(tmp_path / "E.1-seed1", cases)
    lines = format_paper_table(ablation.TABLES[5], tmp_path, settings(), seeds=2)
    head, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[:8]]
    assert head[3:] == [
        "dice, Kvasir",
        "dice, ColonDB",
        "paper: Kvasir Dice",
        "paper: ColonDB Dice",
    ]
    table = {row[0]: row[3:] for row in rows}
    # of two cases, the bootstrap interval goes from the one to the other
    assert table["E.6"] == [
        *("0.650 [0.550, 0.750] (0.600, 0.700)", "0.300 (0.250, 0.350)"),
        *("0.918", "0.773"),
    ]
    assert table["E.1"][0] == "0.600 [0.500, 0.700] (0.600)"
    assert table["E.2"] == ["-", "-", "0.889", "0.727"]
    assert "1 epoch " in lines[-2] and "random weights" in lines[-2] and "S at 352x352" in lines[-1]
    assert "threshold 0.5" in lines[-2]
    auto = replace(settings(), threshold="auto")
    told = format_paper_table(ablation.TABLES[5], tmp_path, auto, seeds=2)[-2]
    assert "thresholds of validation" in told and "threshold 0.5" not in told


def test_intervals_are_over_patients(tmp_path):
    """Of two patients with many images each, the interval goes from the one to the other."""
    cases = {
        f"{patient}_{i}": score for i in range(20) for patient, score in (("a", 0.5), ("b", 0.7))
    }
    leave_run(tmp_path / "E.1-seed0", cases, {case: case[0] for case in cases})
    found = ablation.read_scores(tmp_path, "E.1", 1, ("dice",))
    assert found == {"dice": "0.600 [0.500, 0.700] (0.600)"}


@pytest.mark.slow
def test_a_row_that_was_begun_keeps_what_was_found_on_its_data(tmp_path, monkeypatch):
    trained = []

    def train(asked, run, resume):
        trained.append(asked.recipe.white_balance)
        if not resume:
            run.mkdir(parents=True)
            found = replace(asked.recipe, white_balance=(0.7, 0.6, 0.5))
            write_json(run / "config.json", describe_settings(replace(asked, recipe=found)))
            raise KeyboardInterrupt
        write_json(run / "metrics.json", {})

    monkeypatch.setattr(ablation, "train_task", train)
    monkeypatch.setattr(ablation, "write_paper_tables", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        ablate(settings(), [6], tmp_path / "out", seeds=1, rows=["F.2"])
    ablate(settings(), [6], tmp_path / "out", seeds=1, rows=["F.2"], resume=True)
    assert trained == [False, (0.7, 0.6, 0.5)]


@pytest.mark.slow
def test_a_stopped_ablation_goes_on_row_by_row(tmp_path, monkeypatch, capsys):
    trained = []

    def train(asked, run, resume):
        if len(trained) == 1:
            trained.append("stopped")
            (run / "half").mkdir(parents=True)
            raise KeyboardInterrupt
        trained.append((asked.recipe.variant, asked.seed, resume))
        leave_run(run, {"a": 0.5, "b": 0.7})

    monkeypatch.setattr(ablation, "train_task", train)
    folder = tmp_path / "ablation"
    with pytest.raises(KeyboardInterrupt):
        ablate(settings(), [6], folder, seeds=2, rows=["F.1", "F.2"])
    assert "4 of 4" in capsys.readouterr().out
    assert "0.600 [0.500, 0.700] (0.600)" in (folder / "table-6.md").read_text()
    with pytest.raises(InputError, match="something else.* --out "):
        ablate(settings(), [6], folder)
    with pytest.raises(InputError, match="--rows E.1: not in Table 6"):
        ablate(settings(), [6], folder, rows=["E.1"], resume=True)
    with pytest.raises(InputError, match="other settings"):
        ablate(settings(limit=3), [6], folder, resume=True)
    ablate(settings(), [6], folder, seeds=2, rows=["F.1", "F.2"], resume=True)
    assert trained[2:] == [
        ("smallest:F.2", 0, False), ("smallest:E.5", 1, False), ("smallest:F.2", 1, False)
    ]  # fmt: skip
    assert not (folder / "F.2-seed0" / "half").exists()


def test_nothing_is_left_where_nothing_can_be_trained(tmp_path, monkeypatch):
    def train(asked, run, resume):
        raise InputError("DIR: two splits share an image.")

    monkeypatch.setattr(ablation, "train_task", train)
    with pytest.raises(InputError, match="share an image"):
        ablate(settings(), [5], tmp_path / "ablation")
    assert not (tmp_path / "ablation").exists()


@pytest.mark.slow
def test_list_prints_the_rows_without_training(capsys):
    assert main(["ablate", "--list", "--variant", "M"]) == 2
    assert "variant 'M:E.1'" in capsys.readouterr().err
    assert main(["ablate", "--list", "--table", "6", "--variant", "smallest"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[3:]] == ["| F.1", "| F.2", "| F.3", "| F.4"]
    assert lines[-1].replace(" ", "").endswith("|0.795|0.872|0.944|")


@pytest.mark.release
def test_ablate_on_phantoms_from_the_command_line(tmp_path, capsys):
    command = ["ablate", "--task", "skin", "--rows", "E.1", "F.1", "--seeds", "1"]
    command += ["--variant", "smallest", "--image-size", "32", "32", "--epochs", "1"]
    command += ["--limit", "8", "--recipe", "scratch", "--out", str(tmp_path / "a")]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "2 of 2 trainings" in printed and "| F.2 | + CNN spatial" in printed
    history = (tmp_path / "a" / "E.1-seed0" / "history.csv").read_text()
    assert ",val_mask_dice," in history  # of a model with one head too
    config = json.loads((tmp_path / "a" / "E.5-seed0" / "config.json").read_text())
    assert config["recipe"]["variant"] == "smallest:E.5" and config["recipe"]["warm_up"] == 0.1
    assert main(command + ["--resume"]) == 0
    assert "0 of 2 trainings" in capsys.readouterr().out
    assert main(command) == 2
