"""A slice of a volume with its neighbours as further channels (2.5D)."""

import numpy as np


def find_neighbour_slices(count, context):
    """Which slices belong to each of `count`: integers (count, 2 * context + 1), from the lowest to
    the highest; beyond the first and the last slice these are repeated."""
    around = np.arange(-context, context + 1)
    return np.clip(np.arange(count)[:, None] + around, 0, count - 1)


def stack(slices, rows):
    """Slices as channels.

    Args:
        slices: (D, H, W, C).
        rows: integers (..., S), which slices are put together.

    Returns: (..., H, W, S * C), all channels of the first slice, then those of the next.
    """
    chosen = np.moveaxis(slices[rows], -4, -2)
    return chosen.reshape(*chosen.shape[:-2], -1)


def with_neighbours(slices, context):
    """Every slice of a volume (D, H, W, C) with its neighbours, see `stack`."""
    return stack(slices, find_neighbour_slices(len(slices), context))


class Stacks:
    """The slices of many volumes with their neighbours, put together when they are asked for, so
    that memory holds each slice once.

    Args:
        slices: (N, H, W, C), of one volume behind the other.
        rows: integers (M, S), see `stack`.
    """

    def __init__(self, slices, rows):
        self.slices, self.rows = slices, rows
        *size, channels = slices.shape[1:]
        self.shape, self.dtype = (len(rows), *size, rows.shape[1] * channels), slices.dtype

    @classmethod
    def of_volumes(cls, slices, counts, context):
        """As `Stacks`, of volumes with so many slices each; neighbours are of the same volume."""
        starts = np.cumsum([0, *counts[:-1]])
        rows = [
            start + find_neighbour_slices(n, context)
            for start, n in zip(starts, counts, strict=True)
        ]
        return cls(slices, np.concatenate(rows))

    def __getitem__(self, index):
        """(H, W, S * C) by a number, Stacks by a slice."""
        rows = self.rows[index]
        return stack(self.slices, rows) if rows.ndim == 1 else Stacks(self.slices, rows)
