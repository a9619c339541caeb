"""From the scores of cases to figures with an interval, and to the difference of two models.

Images of one patient resemble one another, so it is patients that are drawn: every interval and
every p value resamples the groups of the cases, each with all its cases.
"""

import math

import numpy as np
from scipy import stats

from transfuse_keras.evaluation.cases import add_penalties, list_metrics

RESAMPLES = 2000
FLIPS = 9999
UNDEFINED = ("mean", "std", "median", "low", "high")


def summarize(rows):
    """Summarise the rows of an Evaluation.

    The value of a class is the mean over the cases whose truth is not empty and whose score is
    defined; "mean" is the mean over the classes that have a value. The penalized distances of
    `add_penalties` are scores among the others.

    Args:
        rows: list of dicts, see `Evaluation`; without "group" every case is a group.

    Returns: {"n", "groups": how many are resampled, "unit", "mean": {metric: value}, "classes":
    {name: {metric: value, "n": cases with a truth, "missed": those predicted empty,
    "false_positives": empty truths not predicted empty, "empty_kept_empty": share of empty truths
    predicted empty}}, "undefined": {name: {metric: count}}, "statistics": {name or "mean":
    {metric: see `summarize_scores`}}}. What has nothing to average is nan.
    """
    rows = add_penalties(rows)
    cases, classes = (list(dict.fromkeys(row[key] for row in rows)) for key in ("case", "class"))
    by_key = {(row["case"], row["class"]): row for row in rows}
    groups = [by_key[case, classes[0]].get("group", case) for case in cases]

    def table(key):
        return np.array([[by_key[case, name][key] for name in classes] for case in cases])

    empty, silent = table("truth_empty"), table("prediction_empty")
    summary = {
        "n": len(cases),
        "groups": len(set(groups)),
        "unit": "mm" if "hd_mm" in rows[0] else "px",
        "mean": {},
        "classes": {
            name: {
                "n": int((~empty[:, i]).sum()),
                "missed": int((~empty & silent)[:, i].sum()),
                "false_positives": int((empty & ~silent)[:, i].sum()),
                "empty_kept_empty": mean(silent[empty[:, i], i]),
            }
            for i, name in enumerate(classes)
        },
        "undefined": {name: {} for name in classes},
        "statistics": {name: {} for name in (*classes, "mean")},
    }
    for metric in list_metrics(rows[0]):
        values = table(metric)
        for name, undefined in zip(classes, np.isnan(values).sum(axis=0), strict=True):
            summary["undefined"][name][metric] = int(undefined)
        values[empty] = np.nan
        for i, name in enumerate(classes):
            figures = summarize_scores(values[:, i : i + 1], groups)
            summary["statistics"][name][metric] = figures
            summary["classes"][name][metric] = figures["mean"]
        figures = summarize_scores(values, groups)
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
    return mean_of_sums(np.where(defined, values, 0).sum(axis=-2), defined.sum(axis=-2))


def mean_of_sums(sums, counts):
    """The same from the sums and numbers of the cases: (..., classes) -> (...)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        means, seen = np.where(counts > 0, sums / counts, 0), counts > 0
        return means.sum(axis=-1) / seen.sum(axis=-1)


def sum_groups(values, groups=None):
    """Sums and numbers of the defined values (cases, classes) of each group, both (groups,
    classes). Without groups each case is one; a group without a value is left out."""
    defined = ~np.isnan(values)
    groups = range(len(values)) if groups is None else groups
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    sums, counts = np.zeros((2, len(names), values.shape[1]))
    np.add.at(sums, index, np.where(defined, values, 0))
    np.add.at(counts, index, defined)
    seen = counts.any(axis=1)
    return sums[seen], counts[seen]


def summarize_scores(values, groups=None):
    """Figures of one metric.

    Args:
        values: float (cases, classes); nan where a score is undefined or has no truth.
        groups: the patient of each case; None makes each case its own.

    Returns: {"mean": over cases, then classes; "std" and "median" of the cases, each the mean of
    its classes; "low", "high": see `bootstrap_interval`; "n", "groups": cases and patients with
    a value}.
    """
    defined = ~np.isnan(values).all(axis=1)
    figures = dict.fromkeys(UNDEFINED, math.nan)
    if not defined.any():
        return {**figures, "n": 0, "groups": 0}
    values = values[defined]
    groups = None if groups is None else np.asarray(groups)[defined]
    by_case = np.nanmean(values, axis=1)
    low, high = bootstrap_interval(values, groups)
    return {
        "mean": float(mean_of_classes(values)),
        "std": float(by_case.std(ddof=1)) if len(values) > 1 else math.nan,
        "median": float(np.median(by_case)),
        "low": low,
        "high": high,
        "n": len(values),
        "groups": len(values) if groups is None else len(set(groups)),
    }


def bootstrap_interval(values, groups=None):
    """Bootstrap 95 % percentile interval of `mean_of_classes` of (cases, classes), seeded.

    Whole groups are drawn with repetition, as many as there are. nan with fewer than two.
    """
    sums, counts = sum_groups(values, groups)
    if len(sums) < 2:
        return math.nan, math.nan
    found = stats.bootstrap(
        (np.arange(len(sums)),),
        lambda index, axis: mean_of_sums(sums[index].sum(axis=-2), counts[index].sum(axis=-2)),
        n_resamples=RESAMPLES,
        batch=max(1, 2_000_000 // sums.size),
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def spell_interval(figures, spec):
    """The interval of figures as " [low, high]", with a format such as ".3f"; "" if there is none,
    as of one patient."""
    low, high = figures["low"], figures["high"]
    return "" if math.isnan(low) else f" [{low:{spec}}, {high:{spec}}]"


def paired(first, second, groups=None):
    """Difference `second` - `first` of two models on the same cases.

    Args:
        first, second: float (cases, classes) of one metric; pairs with a nan are left out.
        groups: the patient of each case; None makes each case its own.

    Returns: {"difference", "low", "high": bootstrap 95 % interval; "p": see `sign_flip_test`;
    "n", "groups": cases and patients}.
    """
    figures = summarize_scores(second - first, groups)
    sums, counts = sum_groups(second - first, groups)
    return {
        "difference": figures["mean"],
        **{key: figures[key] for key in ("low", "high")},
        "p": sign_flip_test(sums, counts),
        **{key: figures[key] for key in ("n", "groups")},
    }


def sign_flip_test(sums, counts):
    """Two-sided p value of a mean difference, by permutation.

    If two models are equally good, a patient's differences might as well have the other sign. The
    signs of whole patients are flipped, in all ways if these are at most FLIPS + 1, else in FLIPS
    random ways; p is the share of ways, the one observed included, in which the mean difference
    is at least as far from 0 as it is. It tests the very difference that is reported; Wilcoxon's
    test of ranks would test another.

    Args: of the differences, as `sum_groups` gives them.

    Returns: float in (0, 1]; nan where all differences are 0 or there is none.
    """
    if not sums.any():
        return math.nan
    count, total = len(sums), counts.sum(axis=0)
    smallest = abs(mean_of_sums(sums.sum(axis=0), total)) - 1e-12
    if 2**count <= FLIPS + 1:
        flips = np.arange(2**count)[:, None] >> np.arange(count) & 1
        return float((np.abs(mean_of_sums((1 - 2 * flips) @ sums, total)) >= smallest).mean())
    rng, found = np.random.default_rng(0), 1
    for batch in np.array_split(np.arange(FLIPS), 1 + FLIPS * count // 2_000_000):
        flips = rng.integers(0, 2, (len(batch), count), dtype="int8")
        means = mean_of_sums((1 - 2 * flips) @ sums, total)
        found += int((np.abs(means) >= smallest).sum())
    return found / (FLIPS + 1)


def adjust_holm(p):
    """p values after Holm's correction for their number; nan stays nan and is not counted."""
    p = np.asarray(p, float)
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]
    factors = np.arange(len(order), 0, -1)
    adjusted = np.full(p.shape, np.nan)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * factors))
    return adjusted
