import csv
import math

import numpy as np
import pytest

from transfuse_keras.evaluation import evaluate, score_case, summarize, write_cases
from transfuse_keras.tasks import Task, hip

CLASSES = ("a", "b")


def masks(a, b):
    """0/1 (8, 8, 2): squares of the given sides in the upper left corner."""
    out = np.zeros((8, 8, 2), "uint8")
    for i, side in enumerate((a, b)):
        out[:side, :side, i] = 1
    return out


def summary_of(*cases, spacing=None):
    rows = []
    for i, (truth, prediction) in enumerate(cases):
        scores = score_case(truth, prediction, spacing, CLASSES)
        rows += [{"case": str(i), **row} for row in scores]
    return summarize(rows)


def test_a_model_that_predicts_nothing_looks_like_it():
    nothing = masks(0, 0)
    summary = summary_of((masks(4, 0), nothing), (masks(4, 4), nothing), (masks(4, 0), nothing))
    assert summary["mean"]["dice"] == 0  # not 1/3, though half of the masks of b are empty
    assert summary["classes"]["b"]["n"] == 1
    assert summary["classes"]["b"]["empty_kept_empty"] == 1
    assert math.isnan(summary["classes"]["a"]["empty_kept_empty"])
    assert math.isnan(summary["mean"]["hd_px"])
    assert summary["undefined"]["a"]["hd_px"] == 3
    assert summary["undefined"]["b"]["hd_px"] == 3


def test_means_worked_by_hand():
    summary = summary_of((masks(4, 2), masks(4, 4)), (masks(2, 0), masks(4, 4)), spacing=(1, 2))
    # Dice of squares of sides 2 and 4: 2 * 4 / (4 + 16)
    assert summary["classes"]["a"]["dice"] == pytest.approx((1 + 0.4) / 2)
    assert summary["classes"]["b"]["dice"] == pytest.approx(0.4)
    assert summary["mean"]["dice"] == pytest.approx((0.7 + 0.4) / 2)
    assert summary["classes"]["b"]["empty_kept_empty"] == 0
    # from the corner (3, 3) to the corner (1, 1): 2 rows of 1 mm, 2 columns of 2 mm
    assert summary["classes"]["b"]["hd_mm"] == pytest.approx(math.hypot(2, 4))
    assert summary["undefined"]["b"]["hd_mm"] == 1
    assert summary["n"] == 2


class Stub:
    """A model that predicts the class of every pixel from its brightness, at half the size."""

    input_shape = (None, 8, 8, 3)
    normalization = ((0.0,) * 3, (1.0,) * 3)

    class mask_model:
        @staticmethod
        def predict_on_batch(images):
            return 100 * (images - 0.5)


class IdentityStub(Stub):
    input_shape = (None, 16, 16, 1)
    normalization = ((0.0,), (1 / 255,))


class VolumeSample:
    """A bright block of 8 x 8 mm in the middle slices of a volume, on pixels of 0.5 x 1 mm."""

    name = file_name = "volume"
    spacing, slices = (2.0, 0.5, 1.0), 6

    def read(self):
        masks = np.zeros((6, 32, 16, 1), "uint8")
        masks[2:4, 8:24, 4:12] = 1
        return masks.astype("float32"), masks

    def save(self, path, masks):
        self.saved = path, masks


def test_a_volume_is_scored_in_three_dimensions(tmp_path):
    sample = VolumeSample()
    task = Task("blocks", ("block",), channels=1, field=(16.0, 16.0))
    (row,) = evaluate(IdentityStub(), [sample], task, tmp_path)
    assert row["case"] == "volume" and row["dice"] > 0.95
    path, masks = sample.saved
    assert path == tmp_path / "volume.nii.gz"
    assert score_case(sample.read()[1], masks, sample.spacing, ("block",))[0]["dice"] == row["dice"]
    # a block one slice too thick is off by the distance of slices
    thick = masks.copy()
    thick[4] = masks[3]
    (row,) = score_case(masks, thick, sample.spacing, ("block",))
    assert row["hd_mm"] == 2.0 and row["dice"] == pytest.approx(2 * 2 / (2 + 3))


class StubSample:
    name, spacing, slices, save = "case", (0.5, 0.5), None, None

    def read(self):
        masks = np.zeros((16, 16, 3), "uint8")
        masks[4:12, 4:12] = 1
        return 255 * masks, masks


def test_cases_are_scored_at_their_own_size(tmp_path):
    rows = evaluate(Stub(), [StubSample()], hip)
    assert [row["class"] for row in rows] == list(hip.classes)
    assert all(row["case"] == "case" and row["dice"] > 0.9 and row["hd_mm"] < 1.5 for row in rows)
    write_cases(tmp_path / "cases.csv", rows)
    with (tmp_path / "cases.csv").open() as file:
        assert [float(row["dice"]) for row in csv.DictReader(file)] == [r["dice"] for r in rows]
