"""A plan made of a folder, kept beside it, and trained by."""

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from data.files import body_folder, hip_folder

from transfuse_keras.cli import main
from transfuse_keras.data.survey import survey
from transfuse_keras.errors import InputError
from transfuse_keras.tasks import find_task
from transfuse_keras.tasks.facts import Machine
from transfuse_keras.tasks.plan import make_plan
from transfuse_keras.training import cross_validation, planning, train
from transfuse_keras.training.planning import (
    choose_weights,
    format_plan,
    look_at_machine,
    plan_folder,
    save_source,
)
from transfuse_keras.weights import efficientnet


@pytest.fixture
def bodies(tmp_path):
    return body_folder(tmp_path / "My bodies 2")


def test_the_task_file_is_kept_and_never_lost(bodies, capsys):
    file = plan_folder(bodies, weights="none")
    said = capsys.readouterr().out
    assert file == bodies.parent / "my_bodies_2_task.py" and str(file) in said
    assert "60x80" in said and "scratch" in said
    task = find_task(str(file))
    assert task.name == "my_bodies_2" and task.recipe.weights == "none"
    before = file.read_bytes()
    assert plan_folder(bodies, weights="none") == file and file.read_bytes() == before
    file.write_text("# mine\n")
    other = plan_folder(bodies, weights="none")
    assert other.name == "my_bodies_2_task-2.py" and file.read_text() == "# mine\n"
    assert str(file) in capsys.readouterr().out and find_task(str(other)) == task
    with pytest.raises(InputError, match="my_bodies_2_task.py.*--save-task"):
        plan_folder(bodies, file, "none")
    with pytest.raises(InputError, match="plan.txt.*py"):
        plan_folder(bodies, file.with_name("plan.txt"), "none")


def test_a_task_file_goes_where_one_can_be_written(bodies, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.chdir(tmp_path)
    plan = make_plan(survey(bodies), Machine())
    assert save_source(plan, bodies).resolve() == tmp_path / "my_bodies_2_task.py"


def test_plan_alone_prints_ten_lines_and_what_to_do_next(tmp_path, capsys):
    data = hip_folder(tmp_path / "hips")
    assert (
        main(
            [
                "plan",
                "--data",
                str(data),
                "--save-task",
                str(tmp_path / "mine.py"),
                "--weights",
                "none",
            ]
        )
        == 0
    )
    said = capsys.readouterr().out
    about = ("data", "classes", "balance", "size", "variant", "batch", "epochs", "start", "changes")
    assert all(f"\n{word} " in said for word in (*about, "scores"))
    assert f"transfuse train --task {tmp_path}/mine.py --data {data}" in said
    assert find_task(str(tmp_path / "mine.py")).classes == ("class_1", "class_2", "class_3")
    assert "patients" in said and main(["plan", "--data", str(tmp_path / "missing")]) == 2


def test_in_a_terminal_the_lines_of_a_plan_are_broken(bodies):
    plan = make_plan(survey(bodies), Machine())
    assert len(format_plan(plan)) == 10
    lines = format_plan(plan, 60)
    assert max(map(len, lines)) <= 60 and len([x for x in lines if x[0] != " "]) == 10
    assert "".join(" ".join(lines).split()) == "".join(" ".join(format_plan(plan)).split())


def test_published_weights_are_named_with_their_licence(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(planning, "can_fetch", lambda names: asked.append(names) or True)
    assert choose_weights("U-Ti") == choose_weights("S") == "imagenet"
    assert asked[1] == ["resnet34.tv_in1k", "deit_small_patch16_224.fb_in1k"]
    assert "resnet34.tv_in1k (bsd-3-clause)" in capsys.readouterr().out
    with pytest.raises(InputError, match="Sx"):
        choose_weights("Sx")
    monkeypatch.setattr(planning, "can_fetch", lambda names: False)
    assert choose_weights("S") == "none" and not capsys.readouterr().out


def test_without_a_hub_the_weights_are_those_of_an_installed_package(monkeypatch):
    reachable, installed = [True], [True]
    monkeypatch.setattr(planning, "can_fetch", lambda names: reachable[0])
    monkeypatch.setattr(efficientnet, "has_package", lambda: installed[0])
    assert look_at_machine().weights == choose_weights("Lite") == "imagenet"
    reachable[0] = False
    assert look_at_machine().weights == choose_weights("Lite") == efficientnet.PACKAGE
    assert choose_weights("Ti") == "none"  # its CNN is another
    assert look_at_machine(variant="Mini").weights == efficientnet.PACKAGE
    assert look_at_machine(variant="S").weights == "none"
    installed[0] = False
    assert look_at_machine().weights == choose_weights("Lite") == "none"


@pytest.mark.parametrize(
    ("options", "reachable", "expected"),
    [
        ([], True, ("imagenet", None)),
        ([], False, (None, 0.1)),
        (["--recipe", "scratch"], True, (None, 0.1)),
        (["--weights", "none"], True, (None, 0.1)),
        (["--folds", "3"], True, ("imagenet", None)),
    ],
)
def test_a_training_starts_from_published_weights_if_they_can_be_had(
    bodies, monkeypatch, options, reachable, expected
):
    """The weights, and the warm-up that the recipe for random ones has."""
    begun = []

    def cross_validate(train_fold, plain, *others):
        begun.append((plain["weights"], plain["recipe"]["warm_up"]))

    monkeypatch.setattr(planning, "can_fetch", lambda names: reachable)
    monkeypatch.setattr(cross_validation, "cross_validate", cross_validate)
    monkeypatch.setattr(
        train, "train_task", lambda s, *_, **__: begun.append((s.weights, s.recipe.warm_up)) or "R"
    )
    assert main(["train", "--task", "hip", "--data", str(bodies), *options]) == 0
    assert begun == [expected]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], (efficientnet.PACKAGE, "Lite")),
        (["--variant", "S"], (None, "S")),
        (["--variant", "Mini"], (efficientnet.PACKAGE, "Mini")),
        (["--recipe", "scratch"], (None, "Ti")),
    ],
)
def test_a_plan_has_weights_that_the_asked_variant_can_take(bodies, monkeypatch, options, expected):
    begun = []
    monkeypatch.setattr(planning, "can_fetch", lambda names: False)
    monkeypatch.setattr(
        train,
        "train_task",
        lambda s, *_, **__: begun.append((s.weights, s.recipe.variant)) or "R",
    )
    assert main(["train", "--data", str(bodies), *options]) == 0
    assert begun == [expected]


def test_what_options_change_of_a_plan_is_said(bodies, monkeypatch, capsys):
    monkeypatch.setattr(train, "train_task", lambda *_, **__: "R")
    given = ["train", "--data", str(bodies), "--weights", "none"]
    assert main([*given, "--epochs", "3", "--lr", "0.01"]) == 0
    assert "--epochs and --lr" in capsys.readouterr().out
    assert main(given) == 0 and "differs" not in capsys.readouterr().out


@pytest.mark.slow
def test_from_a_folder_to_masks_of_new_images(bodies, tmp_path, monkeypatch):
    import transfuse_keras as tk

    monkeypatch.chdir(tmp_path)
    for file in [*bodies.rglob("p[3-9]*.png")]:  # 12 images of 3 patients are left
        file.unlink()
    small = {"variant": "U-Ti", "epochs": 1, "image_size": (32, 32), "export": False}
    run = tk.train(bodies, weights="none", threshold=0.3, **small)
    # 4 validation images are too few to choose sure classes by
    assert run.task == replace(find_task(str(tmp_path / "my_bodies_2_task.py")), sure=())
    assert run.thresholds == (0.3,) * 3 and run.folder == Path("savedmodels/my_bodies_2")
    masks = run.predict(np.zeros((50, 40, 3), "uint8"))
    assert masks.shape == (50, 40, 3) and masks.dtype == np.uint8 and masks.sum(-1).max() <= 1
    file = bodies / "images" / "p0_1.png"
    assert run.predict(file).shape == (60, 80, 3)
    page = run._repr_html_()
    assert page.count("<img ") > 2 and "class_2" in page and run.report.is_file()
    predict = ["predict", "--model", str(run.folder), "--input", str(file), "--out", "masks"]
    assert main(predict) == 0
    label_map = cv2.imread("masks/p0_1.png", cv2.IMREAD_UNCHANGED)
    assert (label_map == (run.predict(file) * [1, 2, 3]).sum(axis=-1)).all()


def test_an_unknown_option_in_python_is_named(bodies):
    import transfuse_keras as tk

    with pytest.raises(InputError, match="epoch;"):
        tk.train(bodies, epoch=1)
