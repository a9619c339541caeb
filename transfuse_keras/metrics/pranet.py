"""Dice and IoU of a probability map as PraNet's released MATLAB evaluation takes them.

PraNet (Fan et al., MICCAI 2020) does not cut a map at 0.5: it stretches it to [0, 1], cuts it at
256 thresholds and averages the scores. Its mDice and mIoU are the means over the images of "dice"
and "iou" here. Source: `main.m` and `Fmeasure_calu.m` of its evaluation toolbox,
https://github.com/DengPingFan/PraNet.
"""

import numpy as np

THRESHOLDS = np.linspace(1, 0, 256)


def stretched(truth, probabilities):
    """A truth and its map, checked, the map stretched to span 0 to 1 unless it is constant.

    Args:
        truth: boolean array (H, W).
        probabilities: float array (H, W) in [0, 1].

    Returns: truth as bool (H, W), (p - min) / (max - min) as float64 (H, W).

    Raises: ValueError if the shapes differ or the map leaves [0, 1].
    """
    truth, p = np.asarray(truth, bool), np.asarray(probabilities, "float64")
    if truth.shape != p.shape:
        raise ValueError(f"Truth {truth.shape} and probabilities {p.shape} differ in shape.")
    low, high = p.min(), p.max()
    if not (low >= 0 and high <= 1):
        raise ValueError(f"Probabilities must lie in [0, 1], not in [{low}, {high}].")
    return truth, (p - low) / (high - low) if high > low else p


def pranet_curves(truth: np.ndarray, probabilities: np.ndarray) -> dict[str, np.ndarray]:
    """Dice and IoU of one image at each of THRESHOLDS, from 1 down to 0.

    A pixel is predicted where the stretched map reaches the threshold. Where no predicted pixel
    is true, both are 0, so an empty truth scores 0 throughout.

    Args, errors: as `stretched`; the map in the size of the truth.

    Returns: {"dice", "iou"} -> float64 array (256,) in [0, 1].

    Example:
        >>> import transfuse_keras as tk
        >>> truth, probabilities = [[1, 1, 0, 0]], [[0.9, 0.5, 0.4, 0.1]]
        >>> curves = tk.metrics.pranet_curves(truth, probabilities)
        >>> curves["dice"].shape, float(curves["dice"].max())
        ((256,), 1.0)
    """
    truth, probabilities = stretched(truth, probabilities)
    # The comparisons of a cut, pixel by pixel, but all thresholds at once: a pixel that reaches
    # `rank` of the ascending thresholds is predicted at those, the last `rank` of THRESHOLDS.
    rank = np.searchsorted(THRESHOLDS[::-1], probabilities, side="right")
    hit, found = (
        np.cumsum(np.bincount(ranks, minlength=257)[:0:-1]) for ranks in (rank[truth], rank.ravel())
    )
    size = np.count_nonzero(truth)
    # a cut without a pixel on an empty truth is 0 / 0: it has no hit, so it scores 0
    return {
        "dice": 2 * hit / np.maximum(size + found, 1),
        "iou": hit / np.maximum(size + found - hit, 1),
    }


def pranet_scores(truth: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """PraNet's Dice and IoU of one image: the mean and the best over the 256 thresholds.

    PraNet's own maxDice and maxIoU are not means of "max_dice" and "max_iou": it averages the
    curves of `pranet_curves` over the images before it takes the maximum.

    Args, errors: as `stretched`; the map in the size of the truth.

    Returns: {"dice", "iou", "max_dice", "max_iou"} -> float in [0, 1]; 0 for an empty truth.

    Example:
        >>> import transfuse_keras as tk
        >>> truth, probabilities = [[1, 1, 0, 0]], [[0.9, 0.5, 0.4, 0.1]]
        >>> tk.metrics.pranet_scores(truth, probabilities)["max_dice"]
        1.0
    """
    curves = pranet_curves(truth, probabilities)
    means = {name: float(curve.mean()) for name, curve in curves.items()}
    return means | {f"max_{name}": float(curve.max()) for name, curve in curves.items()}
