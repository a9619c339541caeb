"""Bland and Altman's limits of agreement between predicted and true areas or volumes."""

import numpy as np

from transfuse_keras.evaluation.report_files import read_number

COVERED = 1.96  # standard deviations that hold 95 % of a normal distribution


def measure_agreement(rows):
    """How far predicted sizes are from the true ones.

    Cases with neither a truth nor a prediction are left out.

    Args:
        rows: of cases.csv, as dicts of strings.

    Returns: class -> {"means": of both sizes, "differences": prediction - truth, both (N,);
    "bias": their mean; "low", "high": bias -/+ 1.96 standard deviations; nan for fewer than two
    cases}. Empty for a cases.csv without sizes.
    """
    sizes = {}
    for row in rows:
        pair = [read_number(row.get(key)) for key in ("prediction_size", "truth_size")]
        if not np.isnan(pair).any() and any(pair):
            sizes.setdefault(row["class"], []).append(pair)
    return {name: limits_of_agreement(*np.transpose(pairs)) for name, pairs in sizes.items()}


def limits_of_agreement(prediction, truth):
    differences = prediction - truth
    bias = float(differences.mean())
    spread = COVERED * float(differences.std(ddof=1)) if len(truth) > 1 else np.nan
    return {
        **{"means": (prediction + truth) / 2, "differences": differences},
        **{"bias": bias, "low": bias - spread, "high": bias + spread},
    }
