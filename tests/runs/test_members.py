"""Which models --model names, and which fit together."""

from dataclasses import asdict, replace

import pytest

from transfuse_keras.errors import InputError
from transfuse_keras.files import write_json
from transfuse_keras.runs.fitting import known_together
from transfuse_keras.runs.members import find_members
from transfuse_keras.tasks import Augmentation, hip, polyp


def make_run(folder, task=hip, thresholds=None, complete=True):
    folder.mkdir(parents=True)
    write_json(folder / "config.json", {"schema": 1, "task": asdict(task), "recipe": {}})
    if thresholds:
        write_json(folder / "threshold.json", {"thresholds": thresholds})
    if complete:
        write_json(folder / "metrics.json", {})
    return folder


@pytest.fixture
def folds(tmp_path):
    """The folder of a cross-validation of three folds, whole but for the last."""
    folder = tmp_path / "folds"
    for k in range(3):
        make_run(folder / f"fold-{k}", complete=k < 2)
    write_json(folder / "cross-validation.json", {"folds": 3})
    return folder


def test_a_cross_validation_is_its_folds_and_all_are_trained(folds):
    with pytest.raises(InputError, match="fold-2 .*--resume"):
        find_members(folds)
    assert find_members([folds / "fold-0", folds / "fold-1"]) == [
        folds / "fold-0",
        folds / "fold-1",
    ]
    write_json(folds / "fold-2" / "metrics.json", {})
    wanted = [folds / f"fold-{k}" for k in range(3)]
    assert find_members(folds) == find_members([str(folds)]) == wanted
    with pytest.raises(InputError, match="twice"):
        find_members([folds, folds / "fold-1"])
    write_json(folds / "cross-validation.json", {})
    with pytest.raises(InputError, match="cross-validation.json"):
        find_members(folds)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="gone: no such model"):
        find_members([make_run(tmp_path / "a"), tmp_path / "gone"])


def test_sure_components_are_kept_alone_of_classes_of_which_all_models_do(tmp_path):
    kept = [("pelvis", "left_femur"), ("left_femur", "right_femur")]
    runs = [make_run(tmp_path / f"{k}", replace(hip, sure=sure)) for k, sure in enumerate(kept)]
    assert known_together(runs)[0].sure == ("left_femur",)
    assert known_together(runs[:1] + [make_run(tmp_path / "old")])[0].sure == ()


def test_thresholds_are_averaged_class_by_class(tmp_path):
    one = make_run(tmp_path / "a", thresholds=dict(zip(hip.classes, (0.2, 0.3, 0.9), strict=True)))
    other = make_run(tmp_path / "b")  # 0.5 of all
    task, thresholds = known_together([one, other])
    assert task == hip and thresholds == pytest.approx((0.35, 0.4, 0.7))
    assert known_together([one]) == (hip, (0.2, 0.3, 0.9))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"classes": ("pelvis", "right_femur", "left_femur")}, "classes"),
        ({"name": "knee"}, "name"),
        ({"channels": 1}, "channels"),
        ({"exclusive": True}, "exclusive"),
        ({"mirror_pairs": ()}, "mirror_pairs"),
        ({"field": (160.0, 160.0)}, "field"),
        ({"value_range": (0.0, 4095.0)}, "value_range"),
    ],
)
def test_models_of_other_tasks_are_refused(tmp_path, change, word):
    runs = make_run(tmp_path / "a"), make_run(tmp_path / "b", replace(hip, **change))
    with pytest.raises(InputError, match=f"{tmp_path / 'b'}.*{word}") as error:
        known_together(runs)
    assert "\n" not in str(error.value)


def test_a_model_that_does_not_tell_its_task_joins_no_others(tmp_path):
    lone = tmp_path / "lone" / "model.keras"
    lone.parent.mkdir()
    lone.write_bytes(b"")
    assert known_together([lone, lone]) is None
    with pytest.raises(InputError, match=f"{lone}: .* its task"):
        known_together([make_run(tmp_path / "a"), lone])


def test_grey_levels_of_folds_are_averaged_where_they_are_nearly_the_same(tmp_path, caplog):
    def found(*ranges):
        runs = [
            make_run(tmp_path / str(x), replace(polyp, value_range=x)) for x in map(tuple, ranges)
        ]
        return known_together(runs)[0].value_range

    assert found((100.0, 1100.0), (110.0, 1130.0)) == (105.0, 1115.0)
    assert "105 to 1115" in caplog.text
    with pytest.raises(InputError, match="value_range"):
        found((100.0, 1000.0), (100.0, 1200.0))


def test_flips_of_runs_that_were_augmented_differently_are_not_known(tmp_path):
    other = replace(hip, augmentation=Augmentation(flip_vertical=True))
    task, _ = known_together([make_run(tmp_path / "a"), make_run(tmp_path / "b", other)])
    assert task.augmentation is None
