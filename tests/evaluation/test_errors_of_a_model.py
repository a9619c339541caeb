"""Failures, agreement of sizes and confusion of classes, against formulas and scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from transfuse_keras.evaluation.agreement import measure_agreement
from transfuse_keras.evaluation.failures import name_failure
from transfuse_keras.metrics.confusion import count_confusion, count_pixels


def test_a_failure_is_a_miss_a_false_alarm_or_a_low_dice():
    assert name_failure(False, True, 0.0) == "missed"
    assert name_failure(True, False, 0.0) == "false alarm"
    assert name_failure(False, False, 0.499) == "Dice below 0.5"
    assert name_failure(False, False, 0.5) == name_failure(True, True, 1.0) == ""
    assert name_failure(False, False, math.nan) == ""


def row(name, truth, prediction):
    return {"class": name, "truth_size": str(truth), "prediction_size": str(prediction)}


def test_limits_of_agreement_worked_by_hand():
    """Differences 10, -10, 30: mean 10, standard deviation 20."""
    pairs = [(100, 110), (200, 190), (300, 330)]
    rows = [*(row("a", *pair) for pair in pairs), row("a", 0, 0), row("b", 50, 40)]
    found = measure_agreement(rows)
    assert found["a"]["bias"] == pytest.approx(10)
    assert found["a"]["low"] == pytest.approx(10 - 1.96 * 20)
    assert found["a"]["high"] == pytest.approx(10 + 1.96 * 20)
    assert found["a"]["means"].tolist() == [105, 195, 315]  # the case without either is left out
    assert found["b"]["bias"] == -10 and math.isnan(found["b"]["low"])
    assert measure_agreement([{"class": "a", "truth_size": "3"}]) == {}


def test_confusion_is_scikit_learns():
    labels = np.random.default_rng(0).integers(0, 4, (2, 20, 30))
    truth, prediction = (labels[..., None] == np.arange(1, 4)).astype(bool)
    wanted = confusion_matrix(*labels.reshape(2, -1), labels=range(4))
    assert count_confusion(truth, prediction).tolist() == wanted.tolist()
    assert count_pixels(truth).tolist() == wanted.sum(axis=1).tolist()
