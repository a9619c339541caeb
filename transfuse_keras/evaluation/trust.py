"""Trust in single predictions: fitted on validation cases, checked on cases held back."""

import numpy as np

from transfuse_keras.data.resize import IGNORED
from transfuse_keras.data.samples import spread_evenly
from transfuse_keras.data.statistics import find_statistic_ranges, measure_image
from transfuse_keras.metrics import dice
from transfuse_keras.metrics.calibration import (
    BINS,
    count_reliability,
    measure_calibration,
    pool_calibration,
)
from transfuse_keras.metrics.temperature import LOGITS, fit_temperature, scale_probabilities
from transfuse_keras.runs.trust import Trust

MOST_MEASURED = 500  # training images whose statistics are measured, evenly spread
LOOK = 0.1  # the share of the validation cases with the smallest predicted Dice
FEWEST = 5  # cases that a slope is fitted on


def fit_trust(validation, train, thresholds, sure=()):
    """Fit a Trust: temperatures and quality on validation, ranges on training images.

    Args:
        validation: Validation of one case or more.
        train: list of Sample, not empty.
        thresholds: class -> one of the thresholds that the validation was counted at.
        sure: the classes of which only sure components stay.

    Returns: Trust.
    """
    temperature, quality, worst, merge = {}, {}, [], validation.counter.merge
    for k, (name, cases) in enumerate(validation.cases.items()):
        temperature[name] = fit_temperature(*validation.total[:, k])
        p = 1 / (1 + np.exp(-LOGITS / temperature[name]))
        threshold, expected, true = validation.grid.index(thresholds[name]), [], []
        for case in cases:
            cut, dices = (case.sure, case.sure_dices) if name in sure else ({}, case.dices)
            inside = merge(cut.get(threshold, case.eligible), threshold)
            if inside.any():
                size = inside.sum() + merge(case.pixels) @ p
                expected.append(2 * (inside @ p) / size)
                true.append(dices[threshold])
        slope, intercept = fit_line(expected, true)
        quality[name] = slope, intercept
        worst += [np.clip(slope * x + intercept, 0, 1) for x in expected]
    chosen = spread_evenly(train, MOST_MEASURED)
    return Trust(
        len(cases),
        temperature,
        quality,
        float(np.quantile(worst, LOOK)) if worst else 0.0,
        find_statistic_ranges([measure_image(sample.read()[0]) for sample in chosen]),
    )


def fit_line(expected, true):
    """(slope, intercept) of least squares from expected to true Dice.

    The slope is not below 0. From fewer than FEWEST cases only the mean difference is learnt.
    """
    if not expected:
        return 1.0, 0.0
    slope = 1.0
    if len(expected) >= FEWEST and np.ptp(expected) > 0:
        slope = max(0.0, float(np.cov(expected, true)[0, 1] / np.var(expected, ddof=1)))
    return slope, float(np.mean(true) - slope * np.mean(expected))


class TrustCheck:
    """How well a Trust does on labelled cases that it was not fitted on.

    Args:
        trust: Trust.
        classes: names of the M classes.
    """

    def __init__(self, trust, classes):
        self.trust, self.classes = trust, classes
        self.rows, self.unlike = [], {}
        self.histograms = np.zeros((3, len(classes), BINS))

    def add(self, sample, image, truth, maps, masks):
        """Take a case: its image, and truth, probabilities and 0/1 masks (..., M)."""
        counted = (truth != IGNORED).all(axis=-1)
        maps, masks, truth = maps[counted], masks[counted], truth[counted] == 1
        scaled = scale_probabilities(maps, list(self.trust.temperature.values()))
        self.histograms += count_reliability(scaled, truth)
        if phrases := self.trust.describe_unlike(image):
            self.unlike[sample.name] = phrases
        for k, (name, predicted) in enumerate(self.trust.predict_dice(maps, masks).items()):
            if truth[:, k].any():
                true = dice(truth[:, k], masks[:, k])
                row = {"case": sample.name, "class": name, "dice": true}
                self.rows.append({**row, "predicted_dice": predicted})

    def summarize(self):
        """What metrics.json says of it.

        Returns: {"validation_cases", "temperature": class -> T, "ece": class -> expected
        calibration error after scaling, "histogram": class -> see `measure_calibration`, "quality":
        see `rate_quality`, "unlike_training": case -> phrases}.
        """
        calibration = measure_calibration(self.histograms, self.classes)
        return {
            "validation_cases": self.trust.cases,
            "temperature": self.trust.temperature,
            **pick_calibration(calibration),
            "quality": rate_quality(self.rows, self.classes),
            "unlike_training": self.unlike,
        }


def pick_calibration(calibration):
    return {
        key: {name: of[key] for name, of in calibration.items()} for key in ("ece", "histogram")
    }


def rate_quality(rows, classes):
    """How well predicted Dice fits the true one.

    Args:
        rows: {"class", "dice", "predicted_dice"} of cases whose truth is not empty.
        classes: names.

    Returns: class -> {"cases", "correlation" (Pearson's), "rank_correlation" (Spearman's),
    "mean_error": mean |predicted - true Dice|}, None where it is not defined.
    """
    from scipy.stats import pearsonr, spearmanr  # takes a second

    quality = {}
    for name in classes:
        own = [row for row in rows if row["class"] == name]
        true, predicted = (np.array([float(x[k]) for x in own]) for k in ("dice", "predicted_dice"))
        defined = len(own) > 2 and np.ptp(true) > 0 and np.ptp(predicted) > 0
        quality[name] = {
            "cases": len(own),
            "correlation": float(pearsonr(true, predicted)[0]) if defined else None,
            "rank_correlation": float(spearmanr(true, predicted)[0]) if defined else None,
            "mean_error": float(np.abs(true - predicted).mean()) if own else None,
        }
    return quality


def pool_trust(parts, rows):
    """What `TrustCheck.summarize` gave of parts, as one; `rows` are those of their quality.csv.

    Numbers of fitting, "validation_cases" and "temperature", are None where they differ, as those
    of folds do.
    """
    classes = list(parts[0]["temperature"])

    def common(values):
        return values[0] if values.count(values[0]) == len(values) else None

    histograms = [{x: {"histogram": part["histogram"][x]} for x in classes} for part in parts]
    unlike = {case: of for part in parts for case, of in part["unlike_training"].items()}
    return {
        "validation_cases": common([part["validation_cases"] for part in parts]),
        "temperature": {x: common([part["temperature"][x] for part in parts]) for x in classes},
        **pick_calibration(pool_calibration(histograms)),
        "quality": rate_quality(rows, classes),
        "unlike_training": dict(sorted(unlike.items())),
    }
