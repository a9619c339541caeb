"""Calibration: does a probability of 0.8 mean that 80 % of such pixels are true?"""

import numpy as np

BINS = 15  # of the reliability curve
SUMS = ("pixels", "probabilities", "true")  # what a bin holds


def count_reliability(maps, truth):
    """Histograms (3, M, BINS) over the probabilities: pixels, sum of probabilities, true pixels."""
    classes = maps.shape[-1]
    index = np.minimum((maps * BINS).astype("int64"), BINS - 1) + BINS * np.arange(classes)
    index = index.ravel()
    return np.stack(
        [
            np.bincount(index, weights, classes * BINS).reshape(classes, BINS)
            for weights in (None, maps.ravel(), truth.ravel())
        ]
    )


def measure_calibration(histograms, classes):
    """Reliability curve and expected calibration error of each class.

    Args:
        histograms: sum of `count_reliability` over cases.
        classes: names of the M classes.

    Returns: class -> {"ece": mean |confidence - frequency| over the pixels, "bins": [{"confidence":
    mean probability, "frequency": share of true pixels, "count"}] of those that hold pixels,
    "histogram": {"pixels", "probabilities", "true"}: the sums of all BINS bins, which add up over
    data sets}.
    """
    calibration = {}
    for i, name in enumerate(classes):
        count, probabilities, true = histograms[:, i]
        filled = count > 0
        pixels = count[filled]
        confidence, frequency = probabilities[filled] / pixels, true[filled] / pixels
        calibration[name] = {
            "ece": float((np.abs(confidence - frequency) * pixels).sum() / count.sum()),
            "bins": [
                {"confidence": float(c), "frequency": float(f), "count": int(n)}
                for c, f, n in zip(confidence, frequency, pixels, strict=True)
            ],
            "histogram": dict(zip(SUMS, histograms[:, i].tolist(), strict=True)),
        }
    return calibration


def pool_calibration(parts):
    """The calibration of several data sets as one, from what `measure_calibration` gave of each.

    Raises: KeyError if a part has no histogram, ValueError if one has other bins.
    """
    classes = list(parts[0])
    histograms = sum(
        np.array([[part[name]["histogram"][key] for name in classes] for key in SUMS])
        for part in parts
    )
    return measure_calibration(histograms, classes)
