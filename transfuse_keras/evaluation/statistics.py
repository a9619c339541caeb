"""From the scores of cases to figures with an interval, and to the difference of two models."""

import math

import numpy as np
from scipy import stats

RESAMPLES = 2000


def summarize(rows):
    """Summarise the rows of an Evaluation.

    The value of a class is the mean over the cases whose truth is not empty and whose score is
    defined; "mean" is the mean over the classes that have a value.

    Args:
        rows: list of dicts, see `Evaluation`.

    Returns: {"n", "unit", "mean": {metric: value}, "classes": {name: {metric: value, "n":
    cases with a truth, "empty_kept_empty": share of empty truths predicted empty}}, "undefined":
    {name: {metric: count}}, "statistics": {name or "mean": {metric: {"mean", "std", "median",
    "low", "high", "n"}}}}. What has nothing to average is nan.
    """
    metrics = [key for key in rows[0] if isinstance(rows[0][key], float)]
    cases, classes = (list(dict.fromkeys(row[key] for row in rows)) for key in ("case", "class"))
    by_key = {(row["case"], row["class"]): row for row in rows}
    empty = np.array([[by_key[case, name]["truth_empty"] for name in classes] for case in cases])
    kept = np.array(
        [[by_key[case, name]["prediction_empty"] for name in classes] for case in cases]
    )
    summary = {
        "n": len(cases),
        "unit": "mm" if "hd_mm" in rows[0] else "px",
        "mean": {},
        "classes": {
            name: {"n": int((~empty[:, i]).sum()), "empty_kept_empty": mean(kept[empty[:, i], i])}
            for i, name in enumerate(classes)
        },
        "undefined": {name: {} for name in classes},
        "statistics": {name: {} for name in (*classes, "mean")},
    }
    for metric in metrics:
        values = np.array([[by_key[case, name][metric] for name in classes] for case in cases])
        for name, undefined in zip(classes, np.isnan(values).sum(axis=0), strict=True):
            summary["undefined"][name][metric] = int(undefined)
        values[empty] = np.nan
        for i, name in enumerate(classes):
            figures = describe_scores(values[:, i : i + 1])
            summary["statistics"][name][metric] = figures
            summary["classes"][name][metric] = figures["mean"]
        figures = describe_scores(values)
        summary["statistics"]["mean"][metric] = figures
        summary["mean"][metric] = figures["mean"]
    return summary


def mean(values):
    """Mean of the values that are not nan; nan if there are none."""
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else math.nan


def mean_of_classes(values):
    """Mean over cases, then over classes, leaving out nan: (..., cases, classes) -> (...)."""
    defined = ~np.isnan(values)
    sums, counts = np.where(defined, values, 0).sum(axis=-2), defined.sum(axis=-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        means, seen = np.where(counts > 0, sums / counts, 0), counts > 0
        return means.sum(axis=-1) / seen.sum(axis=-1)


def describe_scores(values):
    """Figures of one metric.

    Args:
        values: float (cases, classes); nan where a score is undefined or has no truth.

    Returns: {"mean": over cases, then classes; "std" and "median" of the cases, each the mean of
    its classes; "low", "high": bootstrap 95 % interval of the mean, cases drawn with repetition;
    "n": cases with a value}.
    """
    values = values[~np.isnan(values).all(axis=1)]
    figures = dict.fromkeys(("mean", "std", "median", "low", "high"), math.nan)
    figures["n"] = len(values)
    if not len(values):
        return figures
    by_case = np.nanmean(values, axis=1)
    figures |= {
        "mean": float(mean_of_classes(values)),
        "std": float(by_case.std(ddof=1)) if len(values) > 1 else math.nan,
        "median": float(np.median(by_case)),
    }
    figures["low"], figures["high"] = bootstrap_interval(values)
    return figures


def bootstrap_interval(values):
    """Bootstrap 95 % percentile interval of `mean_of_classes` of (cases, classes), seeded; nan
    with fewer than two cases."""
    if len(values) < 2:
        return math.nan, math.nan
    found = stats.bootstrap(
        (np.arange(len(values)),),
        lambda index, axis: mean_of_classes(values[index]),
        n_resamples=RESAMPLES,
        batch=max(1, 2_000_000 // values.size),
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def paired(first, second):
    """Difference `second` - `first` of two models on the same cases.

    Args:
        first, second: float (cases, classes) of one metric; pairs with a nan are left out.

    Returns: {"difference", "low", "high": bootstrap 95 % interval; "p": two-sided Wilcoxon
    signed-rank test on the cases' means over classes, nan where all are equal; "n": cases}.
    """
    difference = second - first
    difference = difference[~np.isnan(difference).all(axis=1)]
    if not len(difference):
        return {**dict.fromkeys(("difference", "low", "high", "p"), math.nan), "n": 0}
    by_case = np.nanmean(difference, axis=1)
    low, high = bootstrap_interval(difference)
    return {
        "difference": float(mean_of_classes(difference)),
        "low": low,
        "high": high,
        "p": float(stats.wilcoxon(by_case).pvalue) if by_case.any() else math.nan,
        "n": len(difference),
    }
