"""Overlap of two masks of one case and class."""

import numpy as np


def counts(truth, prediction):
    """Numbers of true positive, false positive and false negative pixels.

    Raises: ValueError if the shapes differ.
    """
    truth, prediction = np.asarray(truth, bool), np.asarray(prediction, bool)
    if truth.shape != prediction.shape:
        raise ValueError(f"Truth {truth.shape} and prediction {prediction.shape} differ in shape.")
    both = int(np.count_nonzero(truth & prediction))
    return both, int(np.count_nonzero(prediction)) - both, int(np.count_nonzero(truth)) - both


def dice(truth, prediction):
    """Dice coefficient 2 |A and B| / (|A| + |B|).

    Args:
        truth, prediction: boolean arrays of one shape, 2-D or 3-D.

    Returns: float in [0, 1]; 1 if both masks are empty, 0 if one is.
    """
    hit, extra, missed = counts(truth, prediction)
    return 2 * hit / (2 * hit + extra + missed) if hit + extra + missed else 1.0


def iou(truth, prediction):
    """Intersection over union (Jaccard index) |A and B| / |A or B|.

    Args:
        truth, prediction: boolean arrays of one shape, 2-D or 3-D.

    Returns: float in [0, 1]; 1 if both masks are empty, 0 if one is.
    """
    hit, extra, missed = counts(truth, prediction)
    return hit / (hit + extra + missed) if hit + extra + missed else 1.0
