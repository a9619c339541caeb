"""Scores of a probability map from salient object detection.

They are the further columns of PraNet's tables: S-measure, weighted F-measure, E-measure and mean
absolute error, none of which cuts the map at 0.5. As there, a map is first stretched to [0, 1].
Each is the definition of its authors' MATLAB code, with its epsilon, as PySODMetrics has it too.
"""

import numpy as np

from transfuse_keras.metrics.pranet import stretched

EPSILON = np.spacing(1)


def e_curve(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """E-measure (Fan et al., IJCAI 2018) of one image at 256 thresholds from 1 down to 0.

    The stretched map is rounded down to 8 bits for this measure.

    Args, errors: as `saliency_scores`.

    Returns: float64 array (256,) in [0, N / (N - 1)] for N = H W pixels: the definition divides
    by N - 1. An empty truth scores (pixels not predicted) / (N - 1).

    Example:
        >>> import numpy as np
        >>> import transfuse_keras as tk
        >>> truth = np.eye(8, dtype=bool)
        >>> tk.metrics.e_curve(truth, np.where(truth, 0.9, 0.1)).shape
        (256,)
    """
    truth, p = stretched(truth, probabilities)
    level = (p * 255).astype("uint8")
    hit, extra = (
        np.cumsum(np.bincount(level[part], minlength=256)[::-1]) for part in (truth, ~truth)
    )
    size, found, pixels = np.count_nonzero(truth), hit + extra, truth.size
    total: np.ndarray
    if size == 0:
        total = pixels - found
    elif size == pixels:
        total = found
    else:
        # all pixels that agree in (predicted, true) have the same value; a pair is (value of the
        # prediction, value of the truth, number of pixels), both values less their means
        mean, true_mean = found / pixels, size / pixels
        total = np.zeros_like(found, dtype=float)
        for predicted, true, count in (
            (1, 1, hit),
            (1, 0, extra),
            (0, 1, size - hit),
            (0, 0, pixels - size - extra),
        ):
            a, b = predicted - mean, true - true_mean
            alignment = 2 * a * b / (a**2 + b**2 + EPSILON)
            total = total + count * (alignment + 1) ** 2 / 4
    return total / (pixels - 1 + EPSILON)


def s_measure(truth, probabilities):
    """S-measure of a truth and a map that are `stretched`; see `saliency_scores`."""
    share = truth.mean()
    if share in (0, 1):
        return 1 - probabilities.mean() if share == 0 else probabilities.mean()
    parts = (share, probabilities[truth]), (1 - share, 1 - probabilities[~truth])
    objects = sum(weight * object_likeness(values) for weight, values in parts)
    # the four rectangles that meet at the centre of the truth, weighted by their areas
    row, column = 1 + np.argwhere(truth).mean(axis=0).round().astype(int)
    rows, columns = (slice(row), slice(row, None)), (slice(column), slice(column, None))
    regions = sum(
        truth[window].size / truth.size * region_likeness(truth[window], probabilities[window])
        for window in ((i, j) for i in rows for j in columns)
        if truth[window].size
    )
    return max(0.0, 0.5 * objects + 0.5 * regions)


def object_likeness(values):
    """2 x / (x^2 + 1 + sigma): 1 where all the values are 1."""
    spread = values.std(ddof=1) if values.size > 1 else 0.0
    return 2 * values.mean() / (values.mean() ** 2 + 1 + spread + EPSILON)


def region_likeness(truth, p):
    """Structural similarity of a rectangle, with one mean, variance and covariance."""
    x, y = p.mean(), truth.mean()
    n = truth.size - 1 + EPSILON
    variances = (((p - x) ** 2).sum() + ((truth - y) ** 2).sum()) / n
    product = 4 * x * y * ((p - x) * (truth - y)).sum() / n
    scale = (x**2 + y**2) * variances
    return product / (scale + EPSILON) if product else float(scale == 0)


def weighted_f(truth, probabilities):
    """Weighted F-measure of a truth and a map that are `stretched`; see `saliency_scores`."""
    if not truth.any():
        return 0.0
    from scipy import ndimage  # takes a second, which `predict` need not wait

    distance, nearest = ndimage.distance_transform_edt(~truth, return_indices=True)
    error = np.abs(probabilities - truth)
    # outside the object an error depends on that of the nearest pixel of the object
    blurred = ndimage.correlate(error[tuple(nearest)], GAUSSIAN, mode="constant")
    error = np.where(truth & (blurred < error), blurred, error)
    error *= np.where(truth, 1, 2 - 0.5 ** (distance / 5))
    hit = truth.sum() - error[truth].sum()
    recall = 1 - error[truth].mean()
    precision = hit / (hit + error[~truth].sum() + EPSILON)
    return 2 * recall * precision / (recall + precision + EPSILON)


GAUSSIAN = np.exp(-(np.add.outer(np.arange(-3, 4) ** 2, np.arange(-3, 4) ** 2)) / (2 * 5**2))
GAUSSIAN /= GAUSSIAN.sum()  # MATLAB's fspecial("gaussian", 7, 5)


def saliency_scores(truth: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """The saliency scores of one image.

    PraNet's maximal E-measure is not a mean of "max_e": it averages `e_curve` over the images
    before it takes the maximum.

    Args:
        truth: boolean array (H, W), at least two pixels.
        probabilities: float array (H, W) in [0, 1], in the size of the truth; stretched to span
            0 to 1 unless it is constant.

    Returns: dictionary of floats without unit:
        "s_measure": structure measure with alpha 0.5 (Fan et al., ICCV 2017), in [0, 1]; 1 - mean
            of the map for an empty truth, the mean for a truth without background.
        "weighted_f": weighted F-measure with beta 1 (Margolin et al., CVPR 2014), in [0, 1]; 0
            for an empty truth.
        "mean_e", "max_e": mean and maximum of `e_curve`.
        "mae": mean absolute difference of map and truth, in [0, 1]; 0 is best.

    Raises: ValueError if the shapes differ or the map leaves [0, 1].

    Example:
        >>> import numpy as np
        >>> import transfuse_keras as tk
        >>> truth = np.eye(8, dtype=bool)
        >>> tk.metrics.saliency_scores(truth, np.where(truth, 0.9, 0.1))["mae"]  # once stretched
        0.0
    """
    truth, p = stretched(truth, probabilities)
    curve = e_curve(truth, p)
    return {
        "s_measure": float(s_measure(truth, p)),
        "weighted_f": float(weighted_f(truth, p)),
        "mean_e": float(curve.mean()),
        "max_e": float(curve.max()),
        "mae": float(np.abs(p - truth).mean()),
    }
