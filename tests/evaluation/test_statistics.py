import math

import numpy as np
import pytest
from scipy import stats

from transfuse_keras.evaluation.statistics import (
    bootstrap_interval,
    describe_scores,
    mean_of_classes,
    paired,
    summarize,
)

nan = math.nan


def rows_of(values, metric="dice", empty=()):
    """Rows of an evaluation from (cases, classes); `empty` holds (case, class) without truth."""
    return [
        {
            "case": f"{case}",
            "class": f"{name}",
            "truth_empty": (case, name) in empty,
            "prediction_empty": (case, name) in empty and values[case][name] == 1,
            metric: float(values[case][name]),
        }
        for case in range(len(values))
        for name in range(len(values[0]))
    ]


def test_means_over_cases_then_classes():
    values = [[0.2, 1.0], [0.4, nan], [0.9, 0.5]]
    summary = summarize(rows_of(values, empty={(2, 1)}))
    assert summary["n"] == 3
    assert summary["classes"]["0"]["dice"] == pytest.approx(0.5)
    assert summary["classes"]["1"]["dice"] == 1.0  # case 1 is undefined, case 2 has no truth
    assert summary["mean"]["dice"] == pytest.approx(0.75)
    assert summary["undefined"] == {"0": {"dice": 0}, "1": {"dice": 1}}
    assert summary["classes"]["1"]["n"] == 2 and summary["classes"]["1"]["empty_kept_empty"] == 0
    figures = summary["statistics"]["0"]["dice"]
    assert figures["std"] == pytest.approx(np.std([0.2, 0.4, 0.9], ddof=1))
    assert figures["median"] == 0.4 and figures["n"] == 3
    assert summary["statistics"]["mean"]["dice"]["n"] == 3


def test_nothing_to_average_is_nan():
    figures = describe_scores(np.full((3, 2), nan))
    assert figures["n"] == 0 and all(math.isnan(figures[key]) for key in figures if key != "n")
    assert mean_of_classes(np.array([[0.5, nan], [0.7, nan]])) == pytest.approx(0.6)
    assert all(math.isnan(limit) for limit in bootstrap_interval(np.array([[0.5]])))


def test_the_interval_is_that_of_the_t_distribution_for_many_cases():
    values = np.random.default_rng(1).normal(0.8, 0.1, (400, 1))
    low, high = bootstrap_interval(values)
    wanted = stats.t.interval(0.95, 399, values.mean(), stats.sem(values[:, 0]))
    np.testing.assert_allclose((low, high), wanted, atol=0.002)
    assert bootstrap_interval(values) == (low, high)  # seeded
    two = np.hstack([values, values + 0.1])  # classes of one case are drawn together
    np.testing.assert_allclose(bootstrap_interval(two), np.add((low, high), 0.05), atol=1e-9)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        low, high = bootstrap_interval(rng.uniform(0, 1, (40, 1)))
        hits += low <= 0.5 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_paired_difference():
    rng = np.random.default_rng(0)
    first = rng.uniform(0.5, 0.9, (30, 2))
    second = first + rng.normal(0.02, 0.01, (30, 2))
    second[3, 1] = nan
    found = paired(first, second)
    difference = second - first
    wanted = np.mean([np.nanmean(difference[:, i]) for i in range(2)])
    assert found["difference"] == pytest.approx(wanted)
    assert found["low"] < wanted < found["high"] and found["low"] > 0
    assert found["p"] == pytest.approx(stats.wilcoxon(np.nanmean(difference, axis=1)).pvalue)
    assert found["n"] == 30
    same = paired(first, first)
    assert same["difference"] == 0 and math.isnan(same["p"])
    assert paired(first, np.full((30, 2), nan))["n"] == 0
