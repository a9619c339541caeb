"""The Dice that a mask can be expected to have, from calibrated probabilities alone."""

import numpy as np


def expected_dice(probabilities, mask):
    """Expected Dice of a mask if each pixel is true with its probability, apart from the others
    (Borges and others, "Soft Dice Confidence", 2024).

    The expectation of the quotient 2 |A and B| / (|A| + |B|) is taken as the quotient of the
    expectations, which is near for more than a few hundred pixels. An empty mask has no such
    quotient: for it 1 - the largest probability is given, as the certainty that nothing is there.

    Args:
        probabilities: floats in [0, 1], of any shape.
        mask: the predicted 0/1 mask, of the same shape.

    Returns: float in [0, 1].

    Example:
        >>> import numpy as np
        >>> expected_dice(np.array([0.9, 0.7, 0.2]), np.array([1, 1, 0]))
        0.8421052631578948
    """
    mask = np.asarray(mask, bool)
    if not mask.any():
        return float(1 - np.max(probabilities, initial=0))
    hit = np.sum(probabilities, where=mask, dtype="float64")
    return float(2 * hit / (mask.sum() + np.sum(probabilities, dtype="float64")))
