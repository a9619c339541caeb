import json
import math
import re
from dataclasses import asdict, replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from sklearn.model_selection import KFold

from transfuse_keras.data.samples import Sample
from transfuse_keras.data.splits import split_fold
from transfuse_keras.errors import InputError
from transfuse_keras.evaluation.cases import read_cases
from transfuse_keras.evaluation.protocols import describe_protocol
from transfuse_keras.evaluation.statistics import summarize
from transfuse_keras.evaluation.trust import TrustCheck
from transfuse_keras.files import read_table, write_json, write_table
from transfuse_keras.metrics.calibration import (
    count_reliability,
    measure_calibration,
    pool_calibration,
)
from transfuse_keras.metrics.temperature import scale_probabilities
from transfuse_keras.runs.settings import Settings, describe_settings
from transfuse_keras.runs.trust import Trust
from transfuse_keras.tasks import Recipe, Task, hip
from transfuse_keras.training.cross_validation import (
    average_class_dice,
    cross_validate,
    improves_all,
)
from transfuse_keras.training.series import begin_series

SETTINGS = {"seed": 0, "size": (2, 3)}


def samples(count, slices=2):
    return [
        SimpleNamespace(name=f"{i:02}-{k}", group=f"{i:02}", slices=9)
        for i in range(count)
        for k in range(slices)
    ]


def test_folds_are_scikit_learns_and_no_patient_is_on_two_sides():
    cases = samples(23)
    groups = sorted({sample.group for sample in cases})
    wanted = KFold(5, shuffle=True, random_state=12345).split(groups)
    tested = []
    for k, (_, held_out) in enumerate(wanted):
        splits = split_fold(cases, k, 5)
        found = [{sample.group for sample in splits[part]} for part in ("train", "val", "test")]
        assert found[2] == {groups[i] for i in held_out}
        assert set().union(*found) == set(groups) and sum(map(len, found)) == len(groups)
        tested += [sample.name for sample in splits["test"]]
    assert sorted(tested) == [sample.name for sample in cases]
    with pytest.raises(InputError, match="4 patients .*5 folds"):
        split_fold(samples(4), 0, 5)


class Trainer:
    """Leaves what a fold leaves, with the Dice given by case number; dies when told to.

    The clean-up of each class changes the Dice of class a by `cleaned`, that of b by its negative;
    that of all together changes them by `region`. The threshold of class b differs by fold if
    `auto`. The folds of `sure` keep sure components of class b alone.
    """

    def __init__(self, cleaned=0.0, dies_in=None, auto=False, region=(0, 0), sure=()):
        self.cleaned, self.dies_in, self.auto, self.trained = cleaned, dies_in, auto, []
        self.region, self.sure = region, sure

    def __call__(self, run, fold, resume):
        index, count = fold
        if not resume:
            (run / "overlays").mkdir(parents=True)
            (run / "config.json").write_text("{}")
        if index == self.dies_in:
            raise KeyboardInterrupt
        self.trained.append((index, resume))
        rows = [
            {
                **{"case": f"{case}", "class": name, "truth_empty": False},
                **{"prediction_empty": False, "dice": (case + shift) / 20},
            }
            for case in range(index, 10, count)
            for shift, name in ((0, "a"), (1, "b"))
        ]
        write_table(run / "cases.csv", rows)
        each = {"a": self.cleaned, "b": -self.cleaned}
        region = dict(zip("ab", self.region, strict=True))
        both = {name: each[name] + region[name] for name in "ab"}
        ways = {"cleaned": each, "region": region, "region-cleaned": both}
        for name, change in ways.items():
            changed = [{**row, "dice": row["dice"] + change[row["class"]]} for row in rows]
            write_table(run / f"cases-{name}.csv", changed)
        entries = []
        for number, rank in enumerate(("best", "median", "worst", "worst")):
            file = f"{number:02}_{rank}_f{index}.png"
            cv2.imwrite(str(run / "overlays" / file), np.zeros((4, 4, 3), "uint8"))
            entry = {"file": file, "case": f"f{index}{number}", "score": (index + 5 * number) / 20}
            entries.append({**entry, "rank": rank})
        write_json(run / "overlays" / "index.json", entries)
        truth = np.zeros((8, 8, 2), "uint8")
        truth[: index + 2] = 1
        histograms = count_reliability(np.full((8, 8, 2), 0.1 * (index + 1), "float32"), truth)
        thresholds = {"a": 0.5, "b": 0.3 + 0.1 * index if self.auto else 0.5}
        task = Task("t", ("a", "b"), sure=("b",) if index in self.sure else ())
        if task.sure:
            write_table(run / "cases-uncut.csv", [{**row, "dice": 0.0} for row in rows])
        write_json(
            run / "metrics.json",
            {
                **{"task": "t", "data": "d", "variant": "Ti", "paper": {}},
                "protocol": describe_protocol(task, thresholds, "px", ""),
                **{"thresholds": thresholds, "seconds_per_case": 0.1 * index},
                **summarize(rows),
                **{"confusion": [[9, 0, 0], [0, 4, 4], [0, 0, index]]},
                **{"true_pixels": [9, 4, index]},
                "calibration": measure_calibration(histograms, ("a", "b")),
            },
        )


def test_scores_of_all_folds_are_pooled(tmp_path):
    folder = tmp_path / "cv"
    cross_validate(Trainer(), SETTINGS, folder, 5)
    rows = read_cases(folder / "cases.csv")
    assert sorted({row["case"] for row in rows}) == [f"{i}" for i in range(10)]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["n"] == 10 and metrics["mean"]["dice"] == pytest.approx(
        (4.5 / 20 + 5.5 / 20) / 2
    )
    assert metrics["protocol"].startswith("5-fold cross-validation, ")
    assert "threshold 0.5;" in metrics["protocol"] and metrics["thresholds"] == {"a": 0.5, "b": 0.5}
    assert [fold["n"] for fold in metrics["folds"]] == [2] * 5
    assert metrics["seconds_per_case"] == pytest.approx(0.2)
    assert metrics["confusion"] == [[45, 0, 0], [0, 20, 20], [0, 0, 10]]
    assert metrics["true_pixels"] == [45, 20, 10]
    assert json.loads((folder / "postprocessing.json").read_text()) == {
        "largest_region": False,
        "largest_component": {"a": False, "b": False},
    }
    index = json.loads((folder / "overlays" / "index.json").read_text())
    assert [entry["rank"] for entry in index[:3]] == ["best", "median", "worst"]
    assert index[0]["case"] == "f40" and index[1]["case"] == "f21" and index[2]["case"] == "f02"
    assert all((folder / "overlays" / entry["file"]).is_file() for entry in index)
    assert (folder / "report.html").is_file()


def test_each_fold_states_its_own_thresholds(tmp_path):
    folder = tmp_path / "cv"
    cross_validate(Trainer(auto=True), SETTINGS, folder, 3)
    metrics = json.loads((folder / "metrics.json").read_text())
    text = (
        "threshold of each fold its own (fold 0: a 0.5, b 0.3; fold 1: a 0.5, b 0.4; fold 2: 0.5)"
    )
    assert text in metrics["protocol"] and "thresholds" not in metrics
    assert [fold["thresholds"]["b"] for fold in metrics["folds"]] == pytest.approx([0.3, 0.4, 0.5])
    page = (folder / "report.html").read_text()
    assert "b 0.4" in page


@pytest.mark.parametrize(("sure", "told"), [((1,), "; fold 1: of b"), ((0, 1, 2), "; of b")])
def test_sure_components_are_told_of_the_folds_that_keep_them_alone(tmp_path, sure, told):
    folder = tmp_path / "cv"
    cross_validate(Trainer(sure=sure), SETTINGS, folder, 3)
    text = json.loads((folder / "metrics.json").read_text())["protocol"]
    assert f"{told} only sure components count, cases-uncut.csv has all" in text
    assert text.count("sure components") == text.count("surface distances") == 1
    dices = {row["case"]: row["dice"] for row in read_cases(folder / "cases-uncut.csv")}
    assert len(dices) == 10
    assert all((dices[f"{i}"] == 0) == (i % 3 in sure) for i in range(10))


def test_trust_is_checked_on_the_cases_of_all_folds(tmp_path):
    """The predicted Dice of fold k is k / 10 too high, its temperature is 1 + k / 2."""
    folder, pairs = tmp_path / "cv", []
    rng = np.random.default_rng(0)

    def train(run, fold, resume):
        Trainer()(run, fold, resume)
        rows = [row for row in read_cases(run / "cases.csv") if row["class"] == "a"]
        kept = ("case", "class", "dice")
        rows = [
            {**{x: row[x] for x in kept}, "predicted_dice": row["dice"] + fold[0] / 10}
            for row in rows
        ]
        pairs.extend((row["dice"], row["predicted_dice"]) for row in rows)
        write_table(run / "quality.csv", rows)
        check = TrustCheck(Trust(2, {"a": 1 + fold[0] / 2}, {"a": (1, 0)}, 0.5, {}), ("a",))
        maps = rng.random((8, 8, 1), "float32")
        truth = (rng.random((8, 8, 1)) < maps).astype("uint8")
        check.add(Sample(f"{fold[0]}", "", None, None), maps, truth, maps, maps > 0.5)
        scaled.append((scale_probabilities(maps, [1 + fold[0] / 2]), truth))
        content = json.loads((run / "metrics.json").read_text())
        found = {**check.summarize(), "unlike_training": {f"{fold[0]}": ["height / width is 2"]}}
        write_json(run / "metrics.json", {**content, "trust": found})

    scaled = []
    cross_validate(train, SETTINGS, folder, 3)
    trust = json.loads((folder / "metrics.json").read_text())["trust"]
    quality = trust["quality"]["a"]
    assert quality["cases"] == len(read_table(folder / "quality.csv")) == 10
    assert quality["mean_error"] == pytest.approx((0 * 4 + 0.1 * 3 + 0.2 * 3) / 10)
    assert quality["correlation"] == pytest.approx(np.corrcoef(np.transpose(pairs))[0, 1])
    maps, truth = (np.concatenate(x) for x in zip(*scaled, strict=True))
    together = measure_calibration(count_reliability(maps, truth), ("a",))
    assert trust["ece"]["a"] == pytest.approx(together["a"]["ece"])
    # those of the folds differ, and stand with each fold
    assert trust["temperature"] == {"a": None} and trust["validation_cases"] == 2
    page = (folder / "report.html").read_text()
    assert (
        "in each fold on its own validation cases" in page and "3 of 10 images are unlike" in page
    )


def test_a_case_in_two_folds_is_refused(tmp_path):
    def train(run, fold, resume):
        Trainer()(run, (fold[0] % 2, 2), resume)  # the third fold has the cases of the first

    with pytest.raises(InputError, match=r"5 cases, such as 0, in more than one fold"):
        cross_validate(train, SETTINGS, tmp_path / "cv", 3)


def test_facts_of_each_fold_are_told_as_such(tmp_path):
    """How many images, how long: of all folds, not of the first."""

    def train(run, fold, resume):
        Trainer()(run, fold, resume)
        settings = Settings(hip, fold=fold, recipe=replace(hip.recipe, epochs=10 + fold[0]))
        split = [f"Fold {fold[0]} (of 0 to 2) by image."]
        write_json(run / "config.json", {**describe_settings(settings), "split": split})
        counts = {"train": 5 + fold[0], "val": 2, "test": 3}
        rows = [
            {"split": part, "group": f"{part}{i}", "sample": f"{part}{i}"}
            for part, count in counts.items()
            for i in range(count)
        ]
        write_table(run / "split.csv", rows)
        session = {"begun": "2026-11-28T14:03:00+00:00", "seconds": 100 * (fold[0] + 1)}
        session |= {"devices": ["CPU"], "command": "transfuse train", "versions": {}}
        write_json(run / "sessions.json", [session])

    cross_validate(train, SETTINGS, tmp_path / "cv", 3)
    page = (tmp_path / "cv" / "report.html").read_text()
    said = " ".join(re.sub("<[^>]+>", " ", page).split())
    images = "of each fold: training 5 to 7 images, validation 2 images, test 3 images"
    split = " ".join(f"Fold {k} (of 0 to 2) by image." for k in range(3))
    assert said.count(images) == 2 and said.count(split) == 2  # also in the checklist
    assert "10 min 0 s, in 3 sessions, begun 2026-11-28 14:03 UTC, of all 3 folds" in said
    assert "Each of its 3 models was trained on 5 to 7 images, in " in said
    assert "fold 0: epochs 10, " in said and "fold 2: epochs 12, " in said
    assert said.count("Command transfuse train ") == 1


@pytest.mark.parametrize(
    ("region", "cut"),
    [
        ((0, 0), False),
        ((0.1, 0), True),
        ((0.1, -0.01), False),  # a class would lose
        ((0.1, 0.02), True),
    ],
)
def test_volumes_are_cleaned_where_that_helps(tmp_path, region, cut):
    """Together, if no class loses by it; then each class that gains."""
    cross_validate(Trainer(cleaned=0.1, region=region), SETTINGS, tmp_path / "cv", 5)
    chosen = json.loads((tmp_path / "cv" / "postprocessing.json").read_text())
    each = {"a": True, "b": False}
    assert chosen == {"largest_region": cut, "largest_component": each}
    metrics = json.loads((tmp_path / "cv" / "metrics.json").read_text())
    found = {name: metrics["classes"][name]["dice"] for name in "ab"}
    wanted = {"a": 4.5 / 20 + 0.1 + cut * region[0], "b": 5.5 / 20 + cut * region[1]}
    assert found == pytest.approx(wanted)
    rows = read_cases(tmp_path / "cv" / "cases.csv")
    assert [row["class"] for row in rows[:4]] == ["a", "b", "a", "b"]


def test_the_mean_that_decides_is_that_of_nnunet():
    """A false alarm on an empty truth counts 0, and a mask that is rightly empty is left out."""
    cases = [(False, False, 0.8), (True, False, 0.0), (True, True, 1.0)]
    names = ("truth_empty", "prediction_empty", "dice")
    rows = [{"class": "a", **dict(zip(names, case, strict=True))} for case in cases]
    assert average_class_dice(rows) == {"a": 0.4}
    assert math.isnan(average_class_dice(rows[2:])["a"])
    assert not improves_all({"a": 0.5, "b": math.nan}, {"a": 0.5, "b": math.nan})


def test_a_series_of_an_earlier_release_goes_on_with_the_defaults_of_what_is_new(tmp_path):
    asked = json.loads(json.dumps({"recipe": asdict(Recipe()), "seed": 1}))
    before = {**asked, "recipe": {k: v for k, v in asked["recipe"].items() if k != "white_balance"}}
    write_json(tmp_path / "series.json", before)
    begin_series(tmp_path, "series.json", asked, resume=True)
    changed = {**asked, "recipe": {**asked["recipe"], "white_balance": True}}
    with pytest.raises(InputError, match="other settings"):
        begin_series(tmp_path, "series.json", changed, resume=True)


def test_folds_are_resumed_one_by_one(tmp_path):
    folder = tmp_path / "cv"
    with pytest.raises(KeyboardInterrupt):
        cross_validate(Trainer(dies_in=3), SETTINGS, folder, 5)
    assert (folder / "fold-3").is_dir() and not (folder / "metrics.json").exists()
    with pytest.raises(InputError, match="something else.* --resume"):
        cross_validate(Trainer(), SETTINGS, folder, 5)
    with pytest.raises(InputError, match="other settings"):
        cross_validate(Trainer(), {**SETTINGS, "seed": 1}, folder, 5, resume=True)
    trainer = Trainer()
    cross_validate(trainer, SETTINGS, folder, 5, resume=True)
    assert trainer.trained == [(3, True), (4, False)]
    whole = tmp_path / "whole"
    cross_validate(Trainer(), SETTINGS, whole, 5)
    assert (folder / "metrics.json").read_text() == (whole / "metrics.json").read_text()


def test_unusable_data_leaves_no_folder(tmp_path):
    def refuse(run, fold, resume):
        raise InputError("no such data")

    with pytest.raises(InputError, match="no such data"):
        cross_validate(refuse, SETTINGS, tmp_path / "cv", 5)
    assert not (tmp_path / "cv").exists()


def test_pooled_calibration_is_that_of_all_pixels():
    rng = np.random.default_rng(0)
    maps = rng.random((6, 16, 16, 2)).astype("float32")
    truth = (rng.random(maps.shape) < maps).astype("uint8")
    parts = [
        measure_calibration(count_reliability(m, t), ("a", "b"))
        for m, t in zip(maps, truth, strict=True)
    ]
    whole = measure_calibration(count_reliability(maps, truth), ("a", "b"))
    pooled = pool_calibration(json.loads(json.dumps(parts)))
    for name in ("a", "b"):
        assert pooled[name]["ece"] == pytest.approx(whole[name]["ece"], rel=1e-12)
        assert [x["count"] for x in pooled[name]["bins"]] == [
            x["count"] for x in whole[name]["bins"]
        ]
        for key in ("pixels", "true"):
            assert pooled[name]["histogram"][key] == whole[name]["histogram"][key]
