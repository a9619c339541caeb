"""Distances between the surfaces of two masks of one case and class.

The surface of a mask is made of its pixels with a background neighbour (4 neighbours in 2-D, 6
in 3-D); beyond the image lies background. Distances are Euclidean between pixel centres, in the
unit of `spacing`: millimetres, or pixels without one. The definitions are MedPy's. Where either
mask is empty, every distance is nan: undefined; MedPy raises there.
"""

import math
from collections.abc import Sequence

import numpy as np

from transfuse_keras.metrics.binary import as_masks

Spacing = float | Sequence[float] | None


def surface_points(mask, spacing):
    """Coordinates (P, ndim) of the surface pixels of a non-empty boolean mask, times `spacing`."""
    others = [tuple(set(range(mask.ndim)) - {axis}) for axis in range(mask.ndim)]
    filled = [np.flatnonzero(mask.any(axis=axes)) for axes in others]
    corner = [indices[0] for indices in filled]
    box = mask[tuple(slice(indices[0], indices[-1] + 1) for indices in filled)]
    padded = np.pad(box, 1)
    surface = np.zeros_like(box)
    for axis in range(mask.ndim):
        for start in (0, 2):
            window = [slice(1, -1)] * mask.ndim
            window[axis] = slice(start, start + box.shape[axis])
            surface |= ~padded[tuple(window)]
    return (np.argwhere(box & surface) + corner) * spacing


def surface_distances(
    truth: np.ndarray, prediction: np.ndarray, spacing: Spacing = None
) -> tuple[np.ndarray, np.ndarray]:
    """Distance of every surface pixel of one mask to the nearest surface pixel of the other.

    Args:
        truth, prediction: boolean or 0/1 arrays of one shape, 2-D or 3-D, without an axis of
            classes.
        spacing: millimetres per pixel, a number or one for each axis; None counts pixels.

    Returns: (from truth to prediction, from prediction to truth): float64 arrays with a value
    for each surface pixel, both empty if either mask is.

    Raises: ValueError if the shapes differ, a mask holds other values than 0 and 1, or the spacing
    is not positive or of another number of axes.

    Example:
        >>> import transfuse_keras as tk
        >>> truth, prediction = [[1, 0, 0, 0, 0]], [[0, 0, 1, 0, 1]]
        >>> missed, extra = tk.metrics.surface_distances(truth, prediction, spacing=0.5)
        >>> missed.tolist(), extra.tolist()
        ([1.0], [1.0, 2.0])
    """
    truth, prediction = as_masks(truth, prediction)
    pixel = np.asarray(1.0 if spacing is None else spacing)
    if pixel.shape not in ((), (truth.ndim,)):
        raise ValueError(f"Give one spacing for each of the {truth.ndim} axes, not {spacing}.")
    pixel = np.broadcast_to(pixel, truth.ndim)
    if not (np.isfinite(pixel) & (pixel > 0)).all():
        raise ValueError(f"Pixel spacing must be positive, not {pixel}.")
    if not truth.any() or not prediction.any():
        return np.empty(0), np.empty(0)
    from scipy.spatial import cKDTree  # takes a second, which `predict` need not wait

    a, b = surface_points(truth, pixel), surface_points(prediction, pixel)
    return cKDTree(b).query(a)[0], cKDTree(a).query(b)[0]


def surface_scores(
    truth: np.ndarray, prediction: np.ndarray, spacing: Spacing = None
) -> dict[str, float]:
    """All four distances of a case, computed together.

    Args and errors: as `surface_distances`.

    Returns: {"hd", "hd95", "asd", "assd"} -> float in the unit of `spacing`, at least 0, or nan if
    either mask is empty.

    Example:
        >>> import transfuse_keras as tk
        >>> truth, prediction = [[1, 0, 0, 0, 0]], [[0, 0, 1, 0, 1]]
        >>> scores = tk.metrics.surface_scores(truth, prediction, spacing=0.5)
        >>> scores["hd"], scores["asd"]
        (2.0, 1.5)
    """
    missed, extra = surface_distances(truth, prediction, spacing)
    if not missed.size:
        return dict.fromkeys(("hd", "hd95", "asd", "assd"), math.nan)
    both = np.concatenate([missed, extra])
    return {
        "hd": float(both.max()),
        "hd95": float(np.percentile(both, 95)),
        "asd": float(extra.mean()),
        "assd": float(both.mean()),
    }


def hd(truth: np.ndarray, prediction: np.ndarray, spacing: Spacing = None) -> float:
    """Hausdorff distance: the largest of all surface distances, both ways.

    Args, errors: as `surface_distances`. Returns: float in the unit of `spacing`, at least 0, or
    nan if either mask is empty.

    Example:
        >>> import transfuse_keras as tk
        >>> truth, prediction = [[1, 0, 0, 0, 0]], [[0, 0, 1, 0, 1]]
        >>> tk.metrics.hd(truth, prediction, spacing=0.5)
        2.0
    """
    return surface_scores(truth, prediction, spacing)["hd"]


def hd95(truth: np.ndarray, prediction: np.ndarray, spacing: Spacing = None) -> float:
    """The 95th percentile of the surface distances of both directions together.

    Args, errors: as `surface_distances`. Returns: float in the unit of `spacing`, at least 0, or
    nan if either mask is empty.

    Example:
        >>> import transfuse_keras as tk
        >>> truth, prediction = [[1, 0, 0, 0, 0]], [[0, 0, 1, 0, 1]]
        >>> round(tk.metrics.hd95(truth, prediction, spacing=0.5), 6)
        1.9
    """
    return surface_scores(truth, prediction, spacing)["hd95"]


def asd(truth: np.ndarray, prediction: np.ndarray, spacing: Spacing = None) -> float:
    """Average surface distance, directed: from the prediction's surface to the truth's.

    Args, errors: as `surface_distances`. Returns: float in the unit of `spacing`, at least 0, or
    nan if either mask is empty. The other direction is asd(prediction, truth, spacing).

    Example:
        >>> import transfuse_keras as tk
        >>> truth, prediction = [[1, 0, 0, 0, 0]], [[0, 0, 1, 0, 1]]
        >>> tk.metrics.asd(truth, prediction, spacing=0.5)
        1.5
    """
    return surface_scores(truth, prediction, spacing)["asd"]


def assd(truth: np.ndarray, prediction: np.ndarray, spacing: Spacing = None) -> float:
    """Average symmetric surface distance: the mean of the distances of both directions together.

    Args, errors: as `surface_distances`. Returns: float in the unit of `spacing`, at least 0, or
    nan if either mask is empty.

    Example:
        >>> import transfuse_keras as tk
        >>> truth, prediction = [[1, 0, 0, 0, 0]], [[0, 0, 1, 0, 0]]
        >>> tk.metrics.assd(truth, prediction, spacing=(1.0, 0.5))
        1.0
    """
    return surface_scores(truth, prediction, spacing)["assd"]


def nsd(
    truth: np.ndarray, prediction: np.ndarray, tolerance: float, spacing: Spacing = None
) -> float:
    """Normalized surface distance, also called surface Dice: the share of both surfaces that is
    within a tolerance of the other one (Nikolov et al. 2018).

    Every surface pixel counts alike, as in MONAI; the first implementation weighs them by area.

    Args, errors: as `surface_distances`, and
        tolerance: in the unit of `spacing`; a pixel that is exactly as far away is within it,
            but for the rounding of float32.

    Returns: float in [0, 1] without unit; 1 if both masks are empty, 0 if one is.

    Raises: ValueError, besides, if the tolerance is negative or undefined.

    Example:
        >>> import transfuse_keras as tk
        >>> truth, prediction = [[1, 0, 0, 0, 0]], [[0, 0, 1, 0, 1]]
        >>> round(tk.metrics.nsd(truth, prediction, tolerance=1.0, spacing=0.5), 6)
        0.666667
    """
    if not 0 <= tolerance < math.inf:
        raise ValueError(f"The tolerance must be 0 or more, not {tolerance}.")
    distances = surface_distances(truth, prediction, spacing)
    if not distances[0].size:
        return float(np.any(truth) == np.any(prediction))
    return share_within(distances, tolerance)


def share_within(distances, tolerance):
    """The share of the distances, both of `surface_distances` together, within a tolerance."""
    slack = 1 + 1e-5  # of rounding: headers hold the spacing, or what it follows from, as float32
    return float((np.concatenate(distances) <= tolerance * slack).mean())
