"""Two masks as the scores take them."""

import numpy as np


def as_masks(*masks):
    """Truth and prediction as boolean arrays.

    Raises: ValueError if the shapes differ, or if one holds other values than 0 and 1: what lies
    between would count as 1.
    """
    truth, prediction = arrays = [np.asarray(mask) for mask in masks]
    if truth.shape != prediction.shape:
        raise ValueError(f"Truth {truth.shape} and prediction {prediction.shape} differ in shape.")
    found = [array.astype(bool, copy=False) for array in arrays]
    for mask, array in zip(found, arrays, strict=True):
        if array.dtype != bool and not np.array_equal(mask, array):
            other = array[array != mask].flat[0]
            raise ValueError(f"A mask holds 0 and 1 alone, not {other}; compare it to a threshold.")
    return found
