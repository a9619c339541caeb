"""Counts of validation cases, and scikit-learn's F1 score, which is Dice, of the same masks."""

from dataclasses import asdict, replace
from functools import partial
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from sklearn.metrics import f1_score

from transfuse_keras.errors import InputError
from transfuse_keras.evaluation.evaluate import evaluate
from transfuse_keras.evaluation.results import write_sure
from transfuse_keras.evaluation.trust import fit_trust
from transfuse_keras.evaluation.validation import (
    GRID,
    choose_sure,
    choose_thresholds,
    count_validation,
)
from transfuse_keras.files import read_json, write_json
from transfuse_keras.inference.masks import to_masks
from transfuse_keras.inference.predictor import Predictor
from transfuse_keras.metrics.temperature import count_logits
from transfuse_keras.runs.folder import run_task
from transfuse_keras.tasks import Task, polyp
from transfuse_keras.training import finish

SIZE, CLASSES = (16, 24), ("a", "b", "c")


def brightness(classes, seen=None):
    """A model whose map k is the brightness of channel k."""

    def run(images):
        if seen is not None:
            seen.append(len(images))
        return np.float32(images[..., :classes]) / np.float32(255)

    return Predictor(SIZE, 3, classes, run)


def case(image, truth):
    return SimpleNamespace(
        **{"read": lambda: (image, truth), "spacing": None, "name": "case", "group": "case"},
        **{"attributes": {}, "save": None, "file_name": "case"},
    )


def noise(seed):
    """An image of all values, and a truth that is likelier where it is bright; rows 0-3 are left
    out, and the last class is not there."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*SIZE, 3), "uint8")
    truth = (rng.integers(0, 256, image.shape) < image).astype("uint8")
    truth[..., 2], truth[:4] = 0, 255
    return image, truth


@pytest.mark.parametrize("exclusive", [False, True])
def test_dice_at_every_threshold_is_the_f1_score_of_its_mask(exclusive):
    task, images = Task("noise", CLASSES, exclusive=exclusive), [noise(i) for i in range(2)]
    samples = [case(*of) for of in images]
    validation = count_validation(brightness(3), samples, task, GRID)
    for number, (image, truth) in enumerate(images):
        maps = np.float32(image[4:]) / np.float32(255)
        best = np.stack([maps.argmax(axis=-1) == k for k in range(3)], axis=-1)
        for j in (0, 9, 18):
            masks = (maps >= np.float32(GRID[j])) & (best if exclusive else True)
            wanted = count_logits(maps.reshape(-1, 3), masks.reshape(-1, 3))
            for k, name in enumerate(CLASSES):
                counts = validation.cases[name][number]
                f1 = f1_score(truth[4:, :, k].ravel(), masks[..., k].ravel(), zero_division=1)
                assert counts.dices[j] == pytest.approx(f1, abs=1e-12)
                merged = [
                    validation.counter.merge(counts.pixels),
                    validation.counter.merge(counts.eligible, j),
                ]
                np.testing.assert_array_equal(merged, wanted[:, k])
    assert [validation.cases[name][0].shown for name in CLASSES] == [True, True, False]


@pytest.mark.parametrize("exclusive", [False, True])
def test_of_a_sure_class_the_sure_components_are_counted(exclusive):
    """What is left out, the first rows, may belong to one and connect its parts."""
    task, (image, truth) = Task("noise", CLASSES, exclusive=exclusive, sure=("a",)), noise(0)
    image[..., 0] = cv2.GaussianBlur(image[..., 0], (3, 3), 1)
    validation = count_validation(brightness(3), [case(image, truth)], task, GRID)
    maps, several = np.float32(image) / np.float32(255), 0
    for j, threshold in enumerate(GRID):
        masks = to_masks(maps, threshold, exclusive, [0])
        several += not np.array_equal(masks, to_masks(maps, threshold, exclusive))
        own = count_logits(maps[4:].reshape(-1, 3), masks[4:].reshape(-1, 3))
        for k, name in enumerate(CLASSES):
            (counts,) = validation.cases[name]
            f1 = f1_score(truth[4:, :, k].ravel(), masks[4:, :, k].ravel(), zero_division=1)
            assert counts.sure_dices[j] == pytest.approx(f1, abs=1e-12)
            inside = validation.counter.merge(counts.sure.get(j, counts.eligible), j)
            np.testing.assert_array_equal(inside, own[1, k])
    assert several > 2 and not validation.cases["b"][0].sure


def spots(pale, found):
    """A bright spot that is in the truth, and a pale one that is where `found`."""
    image, truth = np.zeros((*SIZE, 3), "uint8"), np.zeros((*SIZE, 1), "uint8")
    image[2:6, 2:6], image[9:13, 9:13] = 255, pale
    truth[2:6, 2:6], truth[9:13, 9:13] = 1, found
    return case(image, truth)


def test_unsure_components_go_where_the_dice_of_validation_rises_by_it():
    """150 / 255 is 0.59. Without the pale spot in the truth a mask of both has Dice 2/3."""
    other = [spots(150, found=False) for _ in range(10)]
    validation = count_validation(brightness(1), other, polyp, (0.5,))
    assert choose_sure(validation, polyp) == ("polyp",)
    assert choose_sure(validation, replace(polyp, sure=())) == ()
    few = count_validation(brightness(1), other[:9], polyp, (0.5,))
    assert choose_sure(few, polyp) == () and choose_sure(few, replace(polyp, sure=("polyp",)))
    real = [spots(150, found=True) for _ in range(10)]
    assert choose_sure(count_validation(brightness(1), real, polyp, (0.5,)), polyp) == ()
    alike = [spots(250, found=False) for _ in range(10)]  # both stay, so nothing changes
    assert choose_sure(count_validation(brightness(1), alike, polyp, (0.5,)), polyp) == ()
    # a threshold of 0.6 leaves the pale spot out, too
    assert choose_sure(count_validation(brightness(1), other, polyp, GRID), polyp) == ()


def test_the_threshold_is_that_of_the_masks_that_are_made():
    """Sure components alone: 0.5 is as good as 0.6, with all of them it is not."""
    samples = [spots(150, found=False) for _ in range(10)]
    validation = count_validation(brightness(1), samples, polyp, GRID)
    assert choose_thresholds(validation) == {"polyp": 0.6}
    assert choose_thresholds(validation, ("polyp",)) == {"polyp": 0.5}


@pytest.mark.parametrize(("sure", "dice"), [((), 2 / 3), (("polyp",), 1.0)])
def test_the_predicted_dice_is_of_the_masks_that_are_made(sure, dice):
    """All images are alike, so the mean error that is learnt is that of each."""
    samples = [spots(150, found=False) for _ in range(10)]
    validation = count_validation(brightness(1), samples, polyp, (0.5,))
    trust = fit_trust(validation, samples, {"polyp": 0.5}, sure)
    maps = np.float32(samples[0].read()[0][..., :1]) / np.float32(255)
    masks = to_masks(maps, 0.5, sure=replace(polyp, sure=sure).sure_maps)
    assert trust.predict_dice(maps, masks)["polyp"] == pytest.approx(dice, abs=1e-3)


def test_a_run_keeps_its_sure_classes(tmp_path):
    write_json(tmp_path / "config.json", {"schema": 1, "task": asdict(polyp)})
    assert run_task(tmp_path).sure is None
    validation = count_validation(brightness(1), [spots(150, False)], polyp, (0.5,))
    write_sure(tmp_path, replace(polyp, sure=("polyp",)), validation)
    assert run_task(tmp_path) == replace(polyp, sure=("polyp",))
    rise = read_json(tmp_path / "components.json")["validation_dice"]["polyp"]
    assert rise == pytest.approx([2 / 3, 1])
    (tmp_path / "components.json").write_text("[]")
    with pytest.raises(InputError, match="components.json"):
        run_task(tmp_path)


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.35, 1.0])
def test_a_pixel_on_the_threshold_reaches_it(threshold):
    """51 / 255 is 0.2; a float32 of 0.35 is a little less than 0.35."""
    image = np.full((*SIZE, 3), round(255 * threshold), "uint8")
    run = lambda images: np.full((len(images), *SIZE, 1), threshold, "float32")  # noqa: E731
    samples = [case(image, np.ones((*SIZE, 1), "uint8"))]
    validation = count_validation(Predictor(SIZE, 3, 1, run), samples, polyp, (threshold,))
    assert validation.cases["polyp"][0].dices == [1]


def disc(shift=0):
    """A blurred disc whose mask is where it is brighter than 100."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    grey = 255 * np.exp(-((y - 8) ** 2 + (x - 10 - shift) ** 2) / 30)
    image = np.repeat(grey[..., None], 3, axis=2).astype("uint8")
    return image, (grey > 100)[..., None].astype("uint8")


def test_thresholds_are_chosen_by_the_best_dice():
    """The masks are where the brightness exceeds 100, so about 0.4 is best."""
    seen, samples = [], [case(*disc(shift)) for shift in range(3)]
    chosen = choose_thresholds(count_validation(brightness(1, seen), samples, polyp, GRID))
    assert chosen == {"polyp": 0.4} and sum(seen) == 3  # each is predicted once
    nothing = case(disc()[0], 0 * disc()[1])
    assert choose_thresholds(count_validation(brightness(1), [nothing], polyp, GRID)) == {
        "polyp": 0.5
    }
    best, other = (evaluate(brightness(1), samples, polyp, x).rows for x in (0.4, 0.5))
    assert min(row["dice"] for row in best) > max(row["dice"] for row in other)


@pytest.mark.parametrize(("shown", "threshold"), [(9, 0.5), (10, 0.4)])
def test_a_training_chooses_no_threshold_by_fewer_than_ten_cases(
    tmp_path, monkeypatch, caplog, shown, threshold
):
    """Cases that do not show the class do not count."""
    image, mask = disc()
    samples = [case(image, mask) for _ in range(shown)] + [case(image, 0 * mask)] * 3
    given = []
    monkeypatch.setattr(finish, "score_samples", lambda *x: given.append(x[4]) or {})
    for name in ("fit_trust", "write_trust"):
        monkeypatch.setattr(finish, name, lambda *_: None)
    count = partial(count_validation, brightness(1))
    monkeypatch.setattr(finish, "count_validation", lambda model, *rest: count(*rest))
    model, splits = SimpleNamespace(variant="Ti"), {"train": [], "val": samples, "test": []}
    caplog.set_level("INFO")
    finish.write_results(
        tmp_path, model, polyp, splits, "phantom", "auto", export=False, report=False
    )
    assert given == [{"polyp": threshold}]
    assert f"Thresholds: polyp {threshold}." in caplog.text
    assert ("Fewer than 10 validation cases show polyp" in caplog.text) == (shown < 10)


def test_without_validation_cases_auto_is_a_half(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(finish, "score_samples", lambda *x: given.append(x[4]) or {})
    model, splits = SimpleNamespace(variant="Ti"), {"train": [], "val": [], "test": []}
    finish.write_results(
        tmp_path, model, polyp, splits, "phantom", "auto", export=False, report=False
    )
    assert given == [{"polyp": 0.5}]
    assert read_json(tmp_path / "threshold.json")["thresholds"] == {"polyp": 0.5}
