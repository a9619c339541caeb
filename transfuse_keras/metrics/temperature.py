"""Temperature scaling (Guo et al. 2017): one number that makes a trained model's probabilities fit.

The logit of each probability is divided by the temperature T. T > 1 takes certainty away, T < 1
adds some; 0.5 stays 0.5, so masks at that threshold are the same.
"""

import numpy as np

LOGIT_BINS, LIMIT = 4096, 16.0  # of histograms over logits; float32 probabilities end near +-16
LOGITS = np.linspace(-LIMIT, LIMIT, LOGIT_BINS)  # of the bins
RANGE = 20.0  # the temperature is from 1 / RANGE to RANGE


def to_logits(probabilities):
    """log(p / (1 - p)) as float64, within -LIMIT and LIMIT; of an array of any shape."""
    p = np.clip(np.asarray(probabilities, "float64"), 1e-12, 1 - 1e-12)
    return np.clip(np.log(p) - np.log1p(-p), -LIMIT, LIMIT)


def scale_probabilities(probabilities, temperature):
    """Probabilities (..., M) with the logits of each map divided by its temperature.

    Args:
        probabilities: floats in [0, 1].
        temperature: a positive number, or one for each of the M maps.

    Returns: float64 of the same shape.

    Example:
        >>> import numpy as np
        >>> scale_probabilities(np.array([0.5, 0.9]), 2.0).round(2).tolist()
        [0.5, 0.75]
    """
    return 1 / (1 + np.exp(-to_logits(probabilities) / np.asarray(temperature, "float64")))


def find_bins(probabilities):
    """The bin of the logit of each probability, 0 to LOGIT_BINS - 1: int64 of the same shape."""
    bins = (to_logits(probabilities) + LIMIT) * ((LOGIT_BINS - 1) / (2 * LIMIT))
    return (bins + 0.5).astype("int64")


def count_logits(maps, truth):
    """Histograms (2, M, LOGIT_BINS) over the logits of maps (N, M): of all pixels, of true ones."""
    classes = maps.shape[-1]
    index = (find_bins(maps) + LOGIT_BINS * np.arange(classes)).ravel()
    return np.stack(
        [
            np.bincount(index, weights, classes * LOGIT_BINS).reshape(classes, LOGIT_BINS)
            for weights in (None, np.asarray(truth, "float64").ravel())
        ]
    )


def fit_temperature(pixels, true):
    """The temperature with the smallest negative log-likelihood.

    Args:
        pixels, true: (LOGIT_BINS,) histograms of one class, as of `count_logits`.

    Returns: float from 1 / RANGE to RANGE; 1 where the pixels are all true or all not, as nothing
    can be told then.
    """
    if not 0 < true.sum() < pixels.sum():
        return 1.0
    from scipy.optimize import minimize_scalar  # takes a second, and few calls need it

    def loss(log_temperature):
        scaled = LOGITS * np.exp(-log_temperature)
        # log(1 + e^z) of what is true and of what is not
        return (true * np.logaddexp(0, -scaled) + (pixels - true) * np.logaddexp(0, scaled)).sum()

    limit = np.log(RANGE)
    return float(np.exp(minimize_scalar(loss, bounds=(-limit, limit), method="bounded").x))
