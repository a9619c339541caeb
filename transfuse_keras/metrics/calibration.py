"""Calibration: does a probability of 0.8 mean that 80 % of such pixels are true?"""

import numpy as np

BINS = 15  # of the reliability curve


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
    mean probability, "frequency": share of true pixels, "count"}] of those that hold pixels}.
    """
    calibration = {}
    for i, name in enumerate(classes):
        count, confidence, frequency = histograms[:, i]
        filled = count > 0
        confidence, frequency = (
            confidence[filled] / count[filled],
            frequency[filled] / count[filled],
        )
        gaps = np.abs(confidence - frequency)
        calibration[name] = {
            "ece": float((gaps * count[filled]).sum() / count.sum()),
            "bins": [
                {"confidence": float(c), "frequency": float(f), "count": int(n)}
                for c, f, n in zip(confidence, frequency, count[filled], strict=True)
            ],
        }
    return calibration
