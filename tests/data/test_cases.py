"""Folders as people have them, made by a script beside the real data."""

import runpy
import sys
from dataclasses import replace

import numpy as np
import pytest
from tasks.test_tasks import REAL

from transfuse_keras.data.check import check
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.splits import find_splits
from transfuse_keras.tasks import find_task, prostate

SCRIPT = REAL.parent / "files" / "make_cases.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="the script is elsewhere")


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """The folder, and what the script drew: `disc` and `photo`, functions of the number."""
    folder = tmp_path_factory.mktemp("cases")
    arguments, sys.argv = sys.argv, [str(SCRIPT), str(folder)]
    try:
        return folder, runpy.run_path(str(SCRIPT))
    finally:
        sys.argv = arguments


@pytest.fixture(scope="module")
def task(cases):
    return find_task(str(cases[0] / "task.py"))


def number(sample):
    return int(sample.files[0].stem.partition("_")[0])


@pytest.mark.parametrize("name", ["good", "palette", "alpha", "two_masks", "yolo", "drive"])
def test_masks_are_the_disc_that_was_drawn(name, cases, task):
    folder, drawn = cases
    report = check(task, folder / name)
    samples = [x for part in report.splits.values() for x in part]
    assert not report.errors and len(samples) == (12 if name == "drive" else 10)
    for sample in samples:
        image, masks = sample.read()
        np.testing.assert_array_equal(image, drawn["photo"](number(sample)))
        np.testing.assert_array_equal(masks[..., 0], drawn["disc"](number(sample)))
    if name == "drive":
        assert {"train", "test"} <= set(report.splits)
    told = {"palette": "black", "alpha": "alpha channel", "two_masks": "--masks gt"}
    assert told.get(name, "") in " ".join(report.notes)


def test_an_ignored_border_is_refused_until_the_task_names_it(cases, task):
    folder, drawn = cases
    (error,) = check(task, folder / "ignore255").errors
    assert "ignore=255" in error and "10 files" in error
    for sample in find_samples(replace(task, ignore=255), folder / "ignore255").samples:
        found = sample.read()[1][..., 0]
        np.testing.assert_array_equal(found == 1, drawn["disc"](number(sample)) == 1)
        assert (found == 255).any()


def test_0_and_1_as_jpeg_are_refused_and_not_called_empty(cases, task):
    report = check(task, cases[0] / "jpeg01")
    (error,) = report.errors
    assert "JPEG" in error and "10 files" in error
    assert not any("empty" in line for line in report.warnings)


@pytest.mark.parametrize("name", ["float01", "rgb12", "miniswhite16"])
def test_images_keep_their_grey_levels(name, cases, task):
    folder, drawn = cases
    for part in find_splits(task, folder / name).values():
        for sample in part:
            shown = drawn["photo"](number(sample)).astype(int)
            shown = shown if name == "rgb12" else np.repeat(shown[..., :1], 3, axis=2)
            shown = 255 - shown if name == "miniswhite16" else shown
            assert np.abs(sample.read()[0] - shown).max() <= 1


def test_who_is_a_patient(cases, task):
    splits = find_splits(task, cases[0] / "patients")
    parts = [{x.group for x in part} for part in splits.values()]
    assert sum(map(len, parts)) == 5 and not set.intersection(*parts)
    assert sum(map(len, splits.values())) == 15
    splits = find_splits(task, cases[0] / "busi")
    assert all(len(part) for part in splits.values())
    assert "not as patients" in " ".join(splits.notes) and "optimistic" in " ".join(splits.warnings)
    assert len({x.group for part in splits.values() for x in part}) == 12


def test_a_label_map_stored_the_other_way_round_is_the_same(cases):
    plain, flipped = (find_samples(prostate, cases[0] / x).samples for x in ("nii", "nii_flipped"))
    assert len(plain) == len(flipped) == 5
    for one, other in zip(plain, flipped, strict=True):
        for array, same in zip(one.read(), other.read(), strict=True):
            np.testing.assert_array_equal(array, same)
    labels = np.zeros((40, 40, 6))
    labels[4:14, 10:30, 1:5], labels[14:18, 10:30, 1:5] = 1, 2
    wanted = labels.transpose(2, 1, 0)[..., None] == [1, 2]
    np.testing.assert_array_equal(plain[0].read()[1], wanted)
