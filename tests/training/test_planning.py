"""A plan made of a folder, kept beside it, and trained by."""

import logging
import os

import numpy as np
import pytest
from data.files import binary_folder, decathlon_folder, disc, hip_folder, picture, save

from transfuse_keras.cli import main
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.survey import fix_augmentation, name_of, survey
from transfuse_keras.errors import InputError
from transfuse_keras.tasks import Augmentation, Task, find_task, hip, skin
from transfuse_keras.tasks.facts import Machine
from transfuse_keras.tasks.plan import make_plan
from transfuse_keras.training.planning import plan_folder, save_source


@pytest.fixture
def bodies(tmp_path):
    """Grey images of 80x60 pixels: a body, and an organ on either side of it, one in two images."""
    folder, rng = tmp_path / "My bodies 2", np.random.default_rng(0)
    y, x = np.mgrid[:60, :80]
    for number in range(40):
        labels = np.zeros((60, 80), "uint8")
        dy, dx = rng.integers(-2, 3, 2)
        for label, (row, column, radius) in enumerate(((30, 40, 12), (40, 12, 6), (40, 67, 6)), 1):
            if label == 1 or number % 2:
                labels[(y - row - dy) ** 2 + (x - column - dx) ** 2 <= radius**2] = label
        grey = (40 * labels + rng.integers(0, 30, labels.shape)).astype("uint8")
        save(folder / "images" / f"p{number // 4}_{number % 4}.png", grey)
        save(folder / "masks" / f"p{number // 4}_{number % 4}.png", labels)
    return folder


def test_a_folder_is_looked_at(bodies):
    facts = survey(bodies)
    assert (facts.name, facts.size, facts.grey, facts.bits) == ("my_bodies_2", (60, 80), True, 8)
    assert facts.classes == ("class_1", "class_2", "class_3") and not facts.overlap
    assert facts.patients == 10 and facts.mirror_pairs == (("class_2", "class_3"),)
    assert facts.widths == pytest.approx((24, 12, 12), abs=1)  # of discs
    assert facts.areas[0] == pytest.approx(np.pi * 144 / 4800, rel=0.05)
    assert facts.shown == (1, *[pytest.approx(0.5)] * 2) and facts.filled == 1
    assert facts.symmetry[0] > 0.9 and facts.symmetry[1] < 0.7 and facts.objects == 2
    task = make_plan(facts, Machine()).task
    assert task.augmentation == hip.augmentation and task.exclusive


def test_volumes_are_looked_at_slice_by_slice(tmp_path):
    facts = survey(decathlon_folder(tmp_path / "prostates", count=8, spacing=(0.5, 0.5, 3.0)))
    assert (facts.classes, facts.channels) == (("pz", "tz"), 2)
    assert facts.counts[0] * 5 == facts.images and facts.spacing == (0.5, 0.5)
    # 24 x 20 voxels; one class is a hole in the other, from which 1.5 times are more than there are
    assert facts.field == (10, 12) and facts.size == (20, 24)
    assert facts.filled == pytest.approx(3 / 5) and not facts.overlap
    assert make_plan(facts, Machine()).task.recipe.foreground == 0.33


def test_images_of_more_than_8_bits_are_told_and_read(tmp_path):
    for number in range(8):
        save(
            tmp_path / "images" / f"{number}.png",
            (picture(number)[..., 0] * 200.0 + number).astype("uint16"),
        )
        save(tmp_path / "masks" / f"{number}.png", disc())
    assert survey(tmp_path).bits == 16


def test_masks_of_several_files_may_overlap(tmp_path):
    for number in range(6):
        for part, image in (("images", picture(number)), ("masks/a", disc()), ("masks/b", disc())):
            save(tmp_path / part / f"{number}.png", image)
    facts = survey(tmp_path)
    assert facts.classes == ("a", "b") and facts.overlap
    assert not make_plan(facts, Machine()).task.exclusive


@pytest.mark.parametrize(
    ("count", "word"), [(0, "no known layout"), (1, "at least 3"), (2, "at least 3")]
)
def test_too_few_images_are_one_sentence(tmp_path, count, word):
    binary_folder(tmp_path, [str(number) for number in range(count)])
    with pytest.raises(InputError, match=word):
        survey(tmp_path)


def test_three_and_thirty_images_are_planned_for(tmp_path):
    for count, batch_size in ((3, 2), (30, 4)):
        folder = binary_folder(tmp_path / str(count), [str(number) for number in range(count)])
        task = make_plan(survey(folder), Machine()).task
        assert task.name == f"data_{count}" and task.threshold is None
        assert (task.recipe.batch_size, task.recipe.epochs) == (batch_size, 200)


def test_a_folder_name_becomes_a_name(tmp_path):
    names = {"Kvasir-SEG": "kvasir_seg", "2 hips": "data_2_hips", "lambda": "data_lambda"}
    assert {name: name_of(tmp_path / name) for name in names} == names


def test_the_task_file_is_kept_and_never_lost(bodies, capsys):
    file = plan_folder(bodies)
    said = capsys.readouterr().out
    assert file == bodies.parent / "my_bodies_2_task.py" and str(file) in said
    assert "60x80" in said and "scratch" in said
    task = find_task(str(file))
    assert task.name == "my_bodies_2" and task.recipe.weights == "none"
    before = file.read_bytes()
    assert plan_folder(bodies) == file and file.read_bytes() == before
    file.write_text("# mine\n")
    other = plan_folder(bodies)
    assert other.name == "my_bodies_2_task-2.py" and file.read_text() == "# mine\n"
    assert str(file) in capsys.readouterr().out and find_task(str(other)) == task
    with pytest.raises(InputError, match="my_bodies_2_task.py.*--save-task"):
        plan_folder(bodies, file)
    with pytest.raises(InputError, match="plan.txt.*py"):
        plan_folder(bodies, file.with_name("plan.txt"))


def test_a_task_file_goes_where_one_can_be_written(bodies, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.chdir(tmp_path)
    plan = make_plan(survey(bodies), Machine())
    assert save_source(plan, bodies).resolve() == tmp_path / "my_bodies_2_task.py"


def test_a_task_without_augmentation_gets_that_of_its_kind_of_picture(bodies, caplog):
    two_fields = Task("mine", ("body", "left_lung", "right_lung"))
    samples = find_samples(two_fields, bodies).samples
    with caplog.at_level(logging.INFO, "transfuse_keras"):
        fixed = fix_augmentation(two_fields, samples)
    # the names speak of sides, but the task does not say that a flip exchanges them
    assert fixed.augmentation.rotation == 10 and not fixed.augmentation.flip_horizontal
    assert "scans" in caplog.text and "no flips" in caplog.text
    none = Task("mine", ("body", "l", "r"), augmentation=Augmentation())
    assert fix_augmentation(none, samples) is none
    assert fix_augmentation(skin, []) is skin


def test_plan_alone_prints_ten_lines_and_what_to_do_next(tmp_path, capsys):
    data = hip_folder(tmp_path / "hips")
    assert main(["plan", "--data", str(data), "--save-task", str(tmp_path / "mine.py")]) == 0
    said = capsys.readouterr().out
    about = ("data", "classes", "balance", "size", "variant", "batch", "epochs", "start", "changes")
    assert all(f"\n{word} " in said for word in (*about, "scores"))
    assert f"transfuse train --task {tmp_path}/mine.py --data {data}" in said
    assert find_task(str(tmp_path / "mine.py")).classes == ("class_1", "class_2", "class_3")
    assert "patients" in said and main(["plan", "--data", str(tmp_path / "missing")]) == 2


@pytest.mark.slow
def test_one_command_from_a_folder_to_masks_of_new_images(bodies, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = ["--epochs", "1", "--image-size", "32", "32", "--no-export"]
    assert main(["train", "--data", str(bodies), *small]) == 0
    run = tmp_path / "savedmodels" / "my_bodies_2"
    said = capsys.readouterr().out
    assert "my_bodies_2_task.py" in said and (run / "report.html").is_file()
    new = tmp_path / "new.png"
    save(new, np.zeros((90, 70), "uint8"))
    assert main(["predict", "--model", str(run), "--input", str(new), "--out", "masks"]) == 0
    assert (tmp_path / "masks" / "new.png").is_file()  # a label map, as the classes are exclusive


@pytest.mark.slow
def test_the_same_from_python(bodies, tmp_path, monkeypatch):
    import transfuse_keras as tk

    monkeypatch.chdir(tmp_path)
    run = tk.train(bodies, epochs=1, image_size=(32, 32), export=False, threshold=0.3)
    assert run.task.name == "my_bodies_2" and run.thresholds == (0.3,) * 3
    masks = run.predict(np.zeros((50, 40, 3), "uint8"))
    assert masks.shape == (50, 40, 3) and masks.dtype == np.uint8 and masks.sum(-1).max() <= 1
    file = next((bodies / "images").iterdir())
    assert run.predict(file).shape == (60, 80, 3)
    page = run._repr_html_()
    assert page.count("<img ") == 4 and "class_2" in page and run.report.is_file()
    with pytest.raises(InputError, match="epoch"):
        tk.train(bodies, epoch=1)
