"""Overlap of two masks of one case and class.

All take truth and prediction as boolean or 0/1 arrays of one shape, of any rank, return a float in
[0, 1] without unit, and raise ValueError if the shapes differ or there are other values. They
count pixels, so pixel spacing does not matter. The names are scikit-learn's: Dice is its F1 score,
IoU its Jaccard score. What empty masks score is said with each.
"""

import numpy as np

from transfuse_keras.metrics.binary import as_masks


def counts(truth, prediction):
    """Numbers of true positive, false positive and false negative pixels.

    Raises: ValueError as of `as_masks`.
    """
    truth, prediction = as_masks(truth, prediction)
    both = int(np.count_nonzero(truth & prediction))
    return both, int(np.count_nonzero(prediction)) - both, int(np.count_nonzero(truth)) - both


def dice(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Dice coefficient 2 |A and B| / (|A| + |B|).

    Args, errors: as in this module. Returns: float in [0, 1]; 1 if both masks are empty, 0 if
    one is.

    Example:
        >>> import transfuse_keras as tk
        >>> truth, prediction = [1, 1, 1, 0], [1, 0, 0, 0]
        >>> tk.metrics.dice(truth, prediction)
        0.5
    """
    hit, extra, missed = counts(truth, prediction)
    return 2 * hit / (2 * hit + extra + missed) if hit + extra + missed else 1.0


def iou(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Intersection over union (Jaccard index) |A and B| / |A or B|.

    Args, errors: as in this module. Returns: float in [0, 1]; 1 if both masks are empty, 0 if
    one is.

    Example:
        >>> import transfuse_keras as tk
        >>> truth, prediction = [1, 1, 0, 0], [1, 0, 0, 0]
        >>> tk.metrics.iou(truth, prediction)
        0.5
    """
    hit, extra, missed = counts(truth, prediction)
    return hit / (hit + extra + missed) if hit + extra + missed else 1.0


def pixel_accuracy(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Share of the pixels, background included, on which the masks agree.

    Args, errors: as in this module. Returns: float in [0, 1]; empty masks are no exception: both
    empty agree everywhere. Of no pixels at all it is 1.

    Example:
        >>> import transfuse_keras as tk
        >>> truth, prediction = [1, 1, 0, 0], [1, 0, 0, 0]
        >>> tk.metrics.pixel_accuracy(truth, prediction)
        0.75
    """
    _, extra, missed = counts(truth, prediction)
    return 1 - (extra + missed) / max(np.size(truth), 1)


def precision(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Share of the predicted pixels that are true, |A and B| / |B|.

    Args, errors: as in this module. Returns: float in [0, 1]; if nothing is predicted, 1 where
    the truth is empty too, else 0.

    Example:
        >>> import transfuse_keras as tk
        >>> truth, prediction = [1, 1, 0, 0], [1, 0, 0, 1]
        >>> tk.metrics.precision(truth, prediction)
        0.5
    """
    hit, extra, missed = counts(truth, prediction)
    return hit / (hit + extra) if hit + extra else float(not missed)


def recall(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Share of the true pixels that are predicted (sensitivity), |A and B| / |A|.

    Args, errors: as in this module. Returns: float in [0, 1]; if the truth is empty, 1 where the
    prediction is empty too, else 0.

    Example:
        >>> import transfuse_keras as tk
        >>> truth, prediction = [1, 1, 1, 1], [1, 0, 0, 0]
        >>> tk.metrics.recall(truth, prediction)
        0.25
    """
    hit, extra, missed = counts(truth, prediction)
    return hit / (hit + missed) if hit + missed else float(not extra)
