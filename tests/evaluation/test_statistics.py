import math

import numpy as np
import pytest
from scipy import stats

from transfuse_keras.evaluation.statistics import (
    adjust_holm,
    bootstrap_interval,
    mean_of_classes,
    paired,
    sign_flip_test,
    sum_groups,
    summarize,
    summarize_scores,
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
    figures = summarize_scores(np.full((3, 2), nan))
    assert figures.pop("n") == figures.pop("groups") == 0
    assert all(map(math.isnan, figures.values()))
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


def patients_of(rng, patients, images, spread):
    """Scores (cases, 1) about 0.5 of images that resemble those of the same patient; patients."""
    of_patient = rng.normal(0.5, 0.1, (patients, 1))
    scores = of_patient + rng.normal(0, spread, (patients, images))
    return scores.reshape(-1, 1), np.repeat(np.arange(patients), images)


def test_patients_are_drawn_as_scipy_draws_their_means():
    """With as many images of each patient, the interval is that of the patients' means."""
    values, groups = patients_of(np.random.default_rng(3), 12, 5, 0.05)
    means = values.reshape(12, 5).mean(axis=1)
    wanted = stats.bootstrap(
        (means,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    np.testing.assert_allclose(bootstrap_interval(values, groups), wanted, atol=1e-12)
    figures = summarize_scores(values, groups)
    assert (figures["n"], figures["groups"]) == (60, 12)
    order = np.random.default_rng(4).permutation(60)  # in whatever order the cases come
    shuffled = bootstrap_interval(values[order], groups[order])
    np.testing.assert_allclose(shuffled, wanted, atol=1e-12)


def test_intervals_of_patients_cover_the_truth_and_those_of_images_do_not():
    rng = np.random.default_rng(0)
    hits = np.zeros(2)
    for _ in range(100):
        values, groups = patients_of(rng, 30, 8, 0.03)
        for i, given in enumerate((groups, None)):
            low, high = bootstrap_interval(values, given)
            hits[i] += low <= 0.5 <= high
    by_patient, by_image = hits / 100
    assert 0.88 <= by_patient <= 0.99
    assert by_image < 0.65  # eight images that are nearly one


def test_no_difference_is_found_significant_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(150):
        difference, groups = patients_of(rng, 10, 6, 0.02)
        found += sign_flip_test(*sum_groups(difference - 0.5, groups)) <= 0.05
    assert found / 150 <= 0.1


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
    assert found["p"] == 1e-4  # none of 9,999 permutations is as far from 0
    assert found["n"] == found["groups"] == 30
    same = paired(first, first)
    assert same["difference"] == 0 and math.isnan(same["p"])
    assert paired(first, np.full((30, 2), nan))["n"] == 0


def test_p_is_that_of_scipys_permutation_test():
    """Ten patients, all 1,024 ways exact; patients of three images each count by their means."""
    rng = np.random.default_rng(1)
    values, groups = patients_of(rng, 10, 3, 0.1)
    difference = values - 0.44
    wanted = stats.permutation_test(
        (difference.reshape(10, 3).mean(axis=1),),
        np.mean,
        permutation_type="samples",
        vectorized=False,
    ).pvalue
    assert 0.01 < wanted < 0.9
    assert paired(0 * difference, difference, groups)["p"] == pytest.approx(wanted, abs=1e-12)
    # by chance, for many patients
    values, groups = patients_of(rng, 40, 2, 0.1)
    difference = values - 0.485
    found = paired(0 * difference, difference, groups)["p"]
    wanted = stats.ttest_1samp(difference.reshape(40, 2).mean(axis=1), 0).pvalue
    assert 0.05 < wanted < 0.9 and found == pytest.approx(wanted, abs=0.03)


def test_holms_correction():
    # as R's p.adjust(c(.01, .04, .03, .005), "holm"), with one that is not known
    wanted = [0.03, 0.06, nan, 0.06, 0.02]
    np.testing.assert_allclose(adjust_holm([0.01, 0.04, nan, 0.03, 0.005]), wanted)
    np.testing.assert_allclose(adjust_holm([0.5, 0.9]), [1, 1])


def test_groups_of_the_cases_are_resampled():
    rows = rows_of([[0.2], [0.4], [0.9], [0.7]])
    alone = summarize(rows)
    for row in rows:
        row["group"] = "a" if row["case"] in "01" else "b"
    together = summarize(rows)
    assert (alone["groups"], together["groups"]) == (4, 2)
    figures = together["statistics"]["0"]["dice"]
    assert (figures["low"], figures["high"]) == pytest.approx((0.3, 0.8))  # one patient twice


def test_a_model_that_gives_up_has_no_better_distance():
    rows = rows_of([[1.0], [nan], [nan], [5.0]], "hd_mm", empty={(2, 0)})
    for row in rows:
        row["diagonal"] = 50.0
        row["prediction_empty"] = row["case"] in "1"
    summary = summarize(rows)
    found = summary["classes"]["0"]
    assert found["hd_mm"] == 3 and summary["statistics"]["0"]["hd_mm"]["n"] == 2
    assert found["penalized_hd_mm"] == pytest.approx((1 + 50 + 5) / 3)
    assert (found["n"], found["missed"], found["false_positives"]) == (3, 1, 1)
    for row in rows:
        del row["diagonal"]  # as releases before this wrote it
    assert "penalized_hd_mm" not in summarize(rows)["mean"]
