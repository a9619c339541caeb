"""What a folder is seen to hold, against what was drawn into it."""

import logging

import numpy as np
import pytest
from data.files import binary_folder, body_folder, decathlon_folder, disc, picture, save

from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.survey import fix_augmentation, name_of, survey
from transfuse_keras.errors import InputError
from transfuse_keras.tasks import Augmentation, Task, hip, skin
from transfuse_keras.tasks.facts import Machine
from transfuse_keras.tasks.plan import make_plan


@pytest.fixture
def bodies(tmp_path):
    return body_folder(tmp_path / "My bodies 2")


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
    # 10 rows and 12 columns about the centre are labelled, 5 and 6 mm; shown are 1.5 times as many
    assert facts.field == (8, 9) and facts.size == (16, 18)
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
