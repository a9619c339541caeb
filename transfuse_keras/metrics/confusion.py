"""Which class is taken for which."""

import numpy as np


def count_confusion(truth, prediction):
    """Pixels by their true and their predicted class.

    Args:
        truth, prediction: bool (..., M) of the same shape. Where a pixel has several classes it
            is counted for each of them.

    Returns: int64 (1 + M, 1 + M): pixels of the row's class that were predicted as the column's;
    the first row and column are background, pixels of no class.

    Example:
        >>> import numpy as np
        >>> truth, prediction = np.eye(2, dtype=bool), np.array([[1, 0], [0, 0]], bool)
        >>> count_confusion(truth, prediction).tolist()
        [[0, 0, 0], [0, 1, 0], [1, 0, 0]]
    """
    rows, columns = split_classes(truth), split_classes(prediction)
    return np.array([[np.count_nonzero(row & column) for column in columns] for row in rows])


def count_pixels(masks):
    """Pixels of background and of each class of bool masks (..., M): int64 (1 + M)."""
    return np.array([np.count_nonzero(mask) for mask in split_classes(masks)])


def split_classes(masks):
    """bool masks (..., M) as a list of 1 + M: background, pixels of no class, comes first."""
    return [~masks.any(axis=-1), *np.moveaxis(masks, -1, 0)]
