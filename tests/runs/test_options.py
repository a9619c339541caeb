"""`transfuse train` as one fixed command line: what it starts, goes on with and refuses."""

import json
import os
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from data.files import hip_folder

from transfuse_keras.cli import main, parser
from transfuse_keras.errors import InputError
from transfuse_keras.files import write_json
from transfuse_keras.runs import settings
from transfuse_keras.runs.folder import find_unfinished, run_task
from transfuse_keras.runs.options import parse_settings
from transfuse_keras.runs.other_settings import refuse_other_settings
from transfuse_keras.runs.settings import SCHEMA, Settings, plain_settings, read_settings
from transfuse_keras.tasks import find_task, hip, prostate, skin

TUNED = Settings(hip, recipe=replace(hip.phantom_recipe, epochs=50, learning_rate=0.25), seed=7)
ARGUMENTS = ["--task", "hip", "--epochs", 50, "--lr", 0.25, "--seed", 7]


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """What `train_task` was called with, instead of training; nothing heavy is imported."""
    calls = []

    def train(settings, out, resume, devices=None, job=None, longer=None, **wanted):
        calls.append((settings, out and str(out), resume))
        return out

    def cross_validate(train, plain, folder, folds, resume):
        for k in range(folds):
            run = folder / f"fold-{k}"
            train(run, (k, folds), resume and (run / "config.json").is_file())

    modules = {"train": train, "cross_validation": cross_validate}
    names = {"train": "train_task", "cross_validation": "cross_validate"}
    for name, function in modules.items():
        module = SimpleNamespace(**{names[name]: function, "exported_elsewhere": lambda *_: False})
        monkeypatch.setitem(sys.modules, f"transfuse_keras.training.{name}", module)
    for name in ("import_tensorflow", "log_next_commands"):
        monkeypatch.setattr(f"transfuse_keras.training.begin.{name}", lambda *given: None)
    monkeypatch.setattr(settings, "backend", lambda: "tensorflow")  # without importing Keras
    monkeypatch.chdir(tmp_path)
    return calls


def begin(run, settings=TUNED, complete=False, **changes):
    """A run folder as a killed or a complete training leaves it."""
    run.mkdir(parents=True)
    content = {**plain_settings(settings), "backend": "tensorflow", "versions": {}, **changes}
    write_json(run / "config.json", content)
    if complete:
        write_json(run / "metrics.json", {})
    return run


def train(*arguments):
    return main(["train", *map(str, arguments)])


def test_one_command_line_starts_a_run_goes_on_with_it_and_ends_when_it_is_complete(
    trained, tmp_path, capsys
):
    run = tmp_path / "run"
    command = [*ARGUMENTS, "--out", run, "--resume"]
    assert train(*command) == 0
    begin(run)
    assert train(*command) == 0 and train("--out", run, "--resume") == 0
    assert trained == [(TUNED, str(run), False), *[(TUNED, str(run), True)] * 2]
    write_json(run / "metrics.json", {})
    assert train(*command) == 0
    assert "complete" in capsys.readouterr().out and len(trained) == 3


def test_without_a_task_one_is_planned_for_the_data(trained, tmp_path, capsys):
    data = hip_folder(tmp_path / "hips")
    assert train("--data", data, "--weights", "none", "--epochs", 3, "--out", "run") == 0
    ((settings, out, _),) = trained
    assert settings.task == find_task(str(tmp_path / "hips_task.py")) and out == "run"
    assert (settings.recipe.epochs, settings.recipe.variant) == (3, "Ti")
    assert settings.data == str(data) and "Recipe" not in capsys.readouterr().out
    assert train("--data", data, "--weights", "none", "--folds", 2, "--save-task", "mine.py") == 0
    assert find_task("mine.py") == settings.task and len(trained) == 3
    begin(tmp_path / "run", settings)  # the same command again
    again = ["--data", data, "--weights", "none", "--epochs", 3, "--save-task", "hips_task.py"]
    assert train(*again, "--out", "run", "--resume") == 0 and trained[-1][2]
    for wrong in (["--task", "hip", "--data", data, "--save-task", "x.py"], ["--data", "missing"]):
        assert train(*wrong) == 2
    said = capsys.readouterr().err
    assert "--save-task" in said and "missing" in said and not (tmp_path / "x.py").exists()


def test_what_a_training_found_on_the_data_is_no_other_setting(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from dataclasses import replace\nfrom transfuse_keras import tasks\n"
        "mine = replace(tasks.hip, augmentation=None)\n"
    )
    ranges = {"value_range": (0.0, 4095.0), "dicom_range": (-1000.0, 400.0)}
    found = replace(hip, augmentation=skin.augmentation, **ranges)
    refuse_other_settings(tmp_path, Settings(found), {"task": str(file)})
    with pytest.raises(InputError, match="--task"):  # hip has an augmentation of its own
        refuse_other_settings(tmp_path, Settings(found), {"task": "hip"})


def test_a_run_without_pen_marks_goes_on_without_them(tmp_path):
    """So does one of a former version, whose task and recipe do not tell of them."""
    given = {"data": "d", "task": "skin"}
    before = parse_settings({**given, "recipe": "scratch-v2"})
    former = replace(before, task=replace(skin, pen_marks=0))
    for begun in (before, former):
        refuse_other_settings(tmp_path, begun, given)
        refuse_other_settings(tmp_path, begun, {"recipe": "scratch-v2"})
    for recipe in ("scratch", "scratch-v3", "scratch-v1"):
        with pytest.raises(InputError, match="--recipe"):
            refuse_other_settings(tmp_path, before, {"recipe": recipe})


def test_a_repeated_run_goes_on_by_the_same_command_line(trained, tmp_path, capsys):
    cosine = replace(TUNED, recipe=replace(TUNED.recipe, warm_up=0.1))
    # epochs and batch were chosen, and it went on for longer
    measured = replace(cosine, time_limit=7200.0, auto_batch=True, restart=20)
    config = begin(tmp_path / "first", measured, complete=True) / "config.json"
    command = ["--from", config, "--out", tmp_path / "again", "--resume"]
    assert train(*command) == 0
    said = capsys.readouterr().err
    assert str(config) in said and "one cosine" in said
    begin(tmp_path / "again", trained[0][0])
    assert train(*command) == 0
    assert trained == [(cosine, str(tmp_path / "again"), x) for x in (False, True)]
    assert train("--from", config, "--folds", 2, "--out", "folds") == 0
    assert trained[-1][0] == replace(cosine, fold=(1, 2))
    assert train("--from", config, "--out", config.parent, "--resume") == 0


def test_a_run_whose_white_balance_was_found_on_its_data_goes_on_by_the_same_command(
    trained, tmp_path, capsys
):
    command = [
        "--task",
        "skin",
        "--data",
        str(hip_folder(tmp_path / "data")),
        "--recipe",
        "scratch",
    ]
    asked = parse_settings({"task": "skin", "data": command[3], "recipe": "scratch"})
    for colour, code in (((0.7, 0.6, 0.5), 0), (False, 2)):  # the second is of an older release
        found = replace(asked, recipe=replace(asked.recipe, white_balance=colour))
        run = begin(tmp_path / str(code), found)
        assert train(*command, "--out", run, "--resume") == code
    assert "--recipe" in capsys.readouterr().err
    assert [x[0].recipe.white_balance for x in trained] == [(0.7, 0.6, 0.5)]


def test_all_options_that_differ_from_the_run_are_named_at_once(trained, tmp_path, capsys):
    run = begin(tmp_path / "run")
    asked = ["--task", "skin", "--batch-size", 6, "--lr", 0.25, "--seed", 8, "--recipe", "scratch"]
    assert train(*asked, "--out", run, "--resume") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and str(run) in said and "--lr" not in said
    for part in ("--task", "--batch-size (6, it has 8)", "--seed (8, it has 7)", "--recipe"):
        assert part in said
    assert train("--from", run / "config.json", "--epochs", 60, "--lr", 1, "--jit", "on") == 2
    assert "--epochs, --lr and --jit" in capsys.readouterr().err and not trained
    assert train("--task", "hip", "--coordinator", "here:1", "--process", 0) == 2
    assert "give --processes too" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            [
                *("--time-limit", "1h", "--epochs", 3, "--auto-batch", "--batch-size", 4),
                *("--val", "none", "--patience", 3),
            ],
            ["leave out --epochs", "leave out --batch-size", "--threshold auto and --patience"],
        ),
        (
            ["--epochs", -1, "--batch-size", -2, "--lr", -3, "--seed", -4],
            ["epochs must", "not -1.", "size must", "not -2.", "rate must", "not -3", "seed must"],
        ),
        (
            [
                *("--threshold", 3, "--time-limit", "soon", "--spacing", -1, "--context", 1),
                *("--fold", 9),
            ],
            ["--threshold 3", "--time-limit soon", "--spacing", "--context 1", "--fold 9"],
        ),
        (["--folds", 3, "--auto-batch", "--limit", 0], ["--auto-batch", "limit must be positive"]),
        (["--devices", "all", "--auto-batch", "--limit", 0], ["--auto-batch", "limit must"]),
    ],
)
def test_all_options_that_cannot_be_are_named_at_once(trained, capsys, asked, said):
    assert train("--task", "hip", *asked) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and all(part in error for part in said) and not trained


def test_a_process_that_comes_later_finds_the_run_that_the_first_began(
    trained, monkeypatch, tmp_path
):
    monkeypatch.setattr("transfuse_keras.training.begin.check_job", lambda *job: None)
    command = [*ARGUMENTS, "--out", begin(tmp_path / "run"), "--coordinator", "here:1"]
    assert train(*command, "--processes", 2, "--process", 1) == 0 and len(trained) == 1
    assert train(*command, "--processes", 2, "--process", 0) == 2 and len(trained) == 1


def test_a_recipe_that_the_run_has_is_no_other_setting(trained, tmp_path):
    command = ["--task", "hip", "--recipe", "scratch", "--lr", 0.5, "--out", tmp_path / "run"]
    assert train(*command) == 0
    begin(tmp_path / "run", trained[0][0])
    assert train(*command, "--resume") == 0
    assert trained[0][0] == trained[1][0] and trained[0][0].recipe.learning_rate == 0.5


VALUES = {  # of options that are no plain number
    **{"--task": ["hip"], "--variant": ["Ti"], "--image-size": [32, 48], "--weights": ["none"]},
    **{"--spacing": [0.2], "--masks": ["masks"], "--group": ["none"], "--threshold": ["auto"]},
    **{"--time-limit": ["2h"], "--lr": [0.5]},
}
ELSEWHERE = {  # said by other tests, or not of one training alone
    *("--help", "--quiet", "--verbose", "--debug", "--data", "--out", "--resume", "--from"),
    *("--coordinator", "--processes", "--process", "--devices", "--fold", "--track"),
    "--save-task",
}


def test_every_option_can_be_given_again(trained, tmp_path):
    """A script that is started again gives all that it gave the first time."""
    data, known = hip_folder(tmp_path / "hips"), parser().commands.choices["train"]
    options = {x.option_strings[-1]: x for x in known._actions if x.option_strings}
    assert options.keys() > ELSEWHERE
    for number, name in enumerate(sorted(options.keys() - ELSEWHERE)):
        action, run = options[name], tmp_path / f"run-{number}"
        value = [] if action.nargs == 0 else VALUES.get(name) or [(action.choices or [3])[-1]]
        needed = [] if name == "--task" else ["--task", "hip"]
        needed = ["--task", "prostate"] if name == "--context" else needed
        command = [*needed, "--data", data, name, *value, "--out", run, "--resume"]
        trained.clear()
        assert train(*command) == 0, name
        settings = trained[0][0]
        if name == "--folds":
            run.mkdir()
            content = {**plain_settings(settings), "fold": None, "folds": 3}
            write_json(run / "cross-validation.json", content)
        else:
            begin(run, settings)
        assert train(*command) == 0, name
        assert trained[-1][0] == replace(settings, fold=trained[-1][0].fold), name


def test_what_was_measured_for_a_run_is_not_measured_again(trained, tmp_path):
    """Neither when the run goes on nor when it is repeated."""
    recipe = replace(TUNED.recipe, batch_size=16, learning_rate=0.5, epochs=7)
    measured = replace(TUNED, recipe=recipe, auto_batch=True, time_limit=3600)
    run = begin(tmp_path / "run", measured)
    given = [*ARGUMENTS[:2], "--seed", 7, "--auto-batch", "--time-limit", "1h"]
    assert train(*given, "--out", run, "--resume") == 0
    assert train("--from", run / "config.json", "--out", tmp_path / "again") == 0
    assert [call[0].recipe for call in trained] == [recipe, recipe]
    assert not trained[1][0].auto_batch and trained[1][0].time_limit is None


def test_a_fold_that_was_begun_keeps_what_was_found_on_its_data(trained, tmp_path):
    folder = tmp_path / "cv"
    folder.mkdir()
    write_json(folder / "cross-validation.json", {**plain_settings(TUNED), "folds": 2})
    found = {"task": replace(hip, value_range=(5.0, 900.0)), "fold": (0, 2)}
    begun = replace(TUNED, **found, recipe=replace(TUNED.recipe, white_balance=(0.7, 0.6, 0.5)))
    begin(folder / "fold-0", begun)
    assert train("--folds", 2, "--out", folder, "--resume") == 0
    assert [call[0] for call in trained] == [begun, replace(TUNED, fold=(1, 2))]


def test_folds_take_the_settings_of_the_run(trained, tmp_path, capsys):
    """50 epochs stay 50, whichever way a fold is begun or gone on with."""
    fold = replace(TUNED, fold=(1, 3))
    run = begin(tmp_path / "fold-1", fold)
    assert train("--folds", 3, "--fold", 1, "--out", run, "--resume") == 0
    assert train("--folds", 3, "--fold", 1, "--from", run / "config.json", "--out", "x") == 0
    assert [call[0] for call in trained] == [fold, fold]
    trained.clear()
    assert train("--folds", 3, "--from", run / "config.json", "--out", "folds") == 0
    cv = tmp_path / "cv"
    cv.mkdir()
    write_json(cv / "cross-validation.json", {**plain_settings(TUNED), "folds": 3})
    assert train("--folds", 3, "--out", cv, "--resume") == 0
    assert train("--folds", 3, *ARGUMENTS, "--out", cv, "--resume") == 0
    assert [call[0] for call in trained] == [replace(TUNED, fold=(k, 3)) for k in range(3)] * 3
    trained.clear()
    capsys.readouterr()
    assert train("--folds", 4, "--epochs", 3, "--out", cv, "--resume") == 2
    said = capsys.readouterr().err
    assert "--folds (4, it has 3)" in said and "--epochs (3, it has 50)" in said and not trained
    write_json(cv / "metrics.json", {})
    assert train("--folds", 3, "--out", cv, "--resume") == 0 and not trained


def test_the_newest_unfinished_run_is_one_of_the_task(trained, tmp_path, capsys):
    runs = tmp_path / "savedmodels"
    own = Settings(skin)
    for name, age in (("skin-2", 10), ("skin-folds", 9), ("skin-big", 8), ("ablation-skin", 7)):
        config = begin(runs / name, own) / "config.json"
        os.utime(config, (1e9 - age, 1e9 - age))
    begin(runs / "skin", own, complete=True)
    assert find_unfinished(None, "skin").name == "skin-2"
    assert train("--task", "skin", "--resume") == 0
    assert trained[-1][1:] == ("savedmodels/skin-2", True)
    write_json(runs / "skin-2" / "metrics.json", {})
    assert train("--task", "skin", "--resume") == 2
    assert "savedmodels/skin" in capsys.readouterr().err


def test_a_config_tells_its_schema(tmp_path, capsys):
    for task in (hip, prostate):
        run = begin(tmp_path / task.name, Settings(task))
        assert json.loads((run / "config.json").read_text())["schema"] == SCHEMA == 1
        assert read_settings(run / "config.json") == Settings(task)
    assert not capsys.readouterr().out
    older = begin(tmp_path / "older")
    content = json.loads((older / "config.json").read_text())
    del content["schema"]
    write_json(older / "config.json", content)
    assert read_settings(older / "config.json") == TUNED
    assert "version 0" in capsys.readouterr().out
    newer = begin(tmp_path / "newer", schema=2)
    for read in (lambda run: read_settings(run / "config.json"), run_task):
        with pytest.raises(InputError, match="newer/config.json: .*schema 2"):
            read(newer)
