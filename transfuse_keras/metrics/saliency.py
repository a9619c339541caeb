"""Scores of a probability map from salient object detection, computed by PySODMetrics.

They are the further columns of PraNet's tables: S-measure, weighted F-measure, E-measure and mean
absolute error, none of which cuts the map at 0.5. As there, a map is first stretched to [0, 1].
"""

import numpy as np

from transfuse_keras.metrics.pranet import stretched


def e_curve(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """E-measure (Fan et al., IJCAI 2018) of one image at 256 thresholds from 1 down to 0.

    The library rounds the stretched map down to 8 bits for this measure.

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
    truth, probabilities = stretched(truth, probabilities)
    from py_sod_metrics import Emeasure

    measure = Emeasure()
    measure.step(probabilities, truth, normalize=False)
    return measure.get_results()["em"]["curve"]


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
    truth, probabilities = stretched(truth, probabilities)
    # imported here: it brings scikit-learn and scikit-image, which nothing else needs
    from py_sod_metrics import MAE, Smeasure, WeightedFmeasure

    measures = {"sm": Smeasure(), "wfm": WeightedFmeasure(), "mae": MAE()}
    for measure in measures.values():
        measure.step(probabilities, truth, normalize=False)
    scores = {key: float(measure.get_results()[key]) for key, measure in measures.items()}
    curve = e_curve(truth, probabilities)
    return {
        "s_measure": scores["sm"],
        "weighted_f": scores["wfm"],
        "mean_e": float(np.mean(curve)),
        "max_e": float(np.max(curve)),
        "mae": scores["mae"],
    }
