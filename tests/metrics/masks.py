"""Pairs of masks, drawn and random, that the tests hold against other libraries."""

import itertools

import numpy as np
from scipy.ndimage import gaussian_filter

SPACINGS = {2: [(1, 1), (0.4, 2.5), (3.1, 0.143)], 3: [(1, 1, 1), (3.6, 0.625, 0.5), (0.2, 1, 4)]}


def square(top, left, side=4, shape=(12, 16)):
    mask = np.zeros(shape, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def painted(shape, *boxes):
    """A boolean mask that is True in the boxes, tuples of slices or indices."""
    mask = np.zeros(shape, bool)
    for box in boxes:
        mask[box] = True
    return mask


def drawings(ndim):
    """Hand-drawn masks of one shape: points, lines, borders, nested, disjoint, whole, empty."""
    shape = (12, 16, 9)[:ndim]
    corner, far, middle = (0,) * ndim, (-1,) * ndim, (5, 7, 4)[:ndim]
    ends = np.ix_(*((0, length - 1) for length in shape))
    inside = (slice(1, -1),) * ndim
    diagonal = tuple(np.arange(min(shape)) for _ in range(ndim))
    return {
        "corner pixel": painted(shape, corner),
        "opposite pixel": painted(shape, far),
        "middle pixel": painted(shape, middle),
        "all corners": painted(shape, ends),
        "line on the border": painted(shape, (0,)),
        "line along the last axis": painted(shape, (*middle[:-1], slice(1, -1))),
        "line along the first axis": painted(shape, (slice(None), *middle[1:])),
        "diagonal": painted(shape, diagonal),
        "box": painted(shape, (slice(2, 9),) * ndim),
        "nested box": painted(shape, (slice(4, 7),) * ndim),
        "box with a hole": painted(shape, (slice(2, 9),) * ndim) & ~painted(shape, middle),
        "disjoint box": painted(shape, (slice(-3, None),) * ndim),
        "frame": ~painted(shape, inside),
        "half": painted(shape, (slice(None, 6),)),
        "whole image": np.ones(shape, bool),
        "empty": np.zeros(shape, bool),
    }


def drawn_pairs(ndim):
    """(names, truth, prediction, spacing) of every pair of drawings."""
    for number, ((a, truth), (b, prediction)) in enumerate(
        itertools.product(drawings(ndim).items(), repeat=2)
    ):
        yield f"{a}, {b}", truth, prediction, SPACINGS[ndim][number % 3]


def random_pairs(ndim, count=120):
    """The same of smooth random blobs and noise in random shapes, none empty."""
    for seed in range(count):
        rng = np.random.default_rng([ndim, seed])
        shape = rng.integers(4, 30, size=ndim)
        blobs = [gaussian_filter(rng.standard_normal(shape), rng.uniform(0, 3)) for _ in range(2)]
        masks = [blob > np.quantile(blob, rng.uniform(0.3, 0.97)) for blob in blobs]
        yield f"seed {seed}", *masks, tuple(rng.uniform(0.2, 4, ndim))


def all_pairs():
    for ndim in (2, 3):
        yield from drawn_pairs(ndim)
        yield from random_pairs(ndim)
