"""Outlines, ellipses and run lengths as masks.

One convention: (0, 0) is the top left corner of the image, so the centre of the first pixel is at
(0.5, 0.5). A pixel belongs to a shape if its centre lies inside. This is how pycocotools draws,
which rounds corners to a fifth of a pixel besides.
"""

import numpy as np

from transfuse_keras.errors import InputError


def fill_rings(rings, size):
    """The union of outlines, each filled by the even-odd rule.

    Args:
        rings: list of (N, 2) of x, y; the last point is joined to the first.
        size: (height, width) of the image; what lies outside is cut off.

    Returns: bool (height, width).
    """
    mask = np.zeros(size, bool)
    for ring in rings:
        mask |= fill_ring(ring, size)
    return mask


def fill_ring(ring, size):
    """One outline filled: from each place where a row of pixel centres crosses it, inside and
    outside are exchanged for the rest of the row."""
    height, width = size
    ring = np.asarray(ring, "float64")
    pairs = np.stack([ring, np.roll(ring, -1, axis=0)])
    upper, lower = np.take_along_axis(pairs, pairs[..., 1:].argsort(axis=0), axis=0)
    first, last = (
        np.clip(np.ceil(end[:, 1] - 0.5), 0, height).astype(int) for end in (upper, lower)
    )
    counts = last - first
    edge = np.repeat(np.arange(len(ring)), counts)
    rows = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts) + first[edge]
    (x, y), (x_end, y_end) = upper[edge].T, lower[edge].T
    crossings = x + (rows + 0.5 - y) * (x_end - x) / (y_end - y)
    columns = np.clip(np.ceil(crossings - 0.5), 0, width).astype(int)
    exchanged = np.zeros((height, width + 1), bool)
    np.logical_xor.at(exchanged, (rows, columns), True)
    return np.logical_xor.accumulate(exchanged, axis=1)[:, :width]


def fill_relative_ring(ring, size):
    """As `fill_ring`, of an outline in shares of the width and the height."""
    return fill_ring(np.asarray(ring) * size[::-1], size)


def fill_ellipse(center, radii, degrees, size):
    """A filled ellipse.

    Args:
        center, radii: (x, y), before the turn.
        degrees: by which it is turned, clockwise.
        size: (height, width) of the image.

    Returns: bool (height, width).
    """
    y, x = np.ogrid[: size[0], : size[1]]
    x, y = x + 0.5 - center[0], y + 0.5 - center[1]
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return ((x * cos + y * sin) / radii[0]) ** 2 + ((y * cos - x * sin) / radii[1]) ** 2 <= 1


def turn(points, degrees):
    """Points (N, 2) turned clockwise about their mean."""
    points = np.asarray(points, "float64")
    center = points.mean(axis=0)
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (points - center) @ np.array([[cos, sin], [-sin, cos]]) + center


def expand_runs(counts, total):
    """Run lengths of 0, 1, 0, ... as bool (total,). Raises: ValueError if they have another sum."""
    counts = np.asarray(counts, "int64")
    if counts.sum() != total or (counts < 0).any():
        raise ValueError(f"its run lengths are those of {counts.sum()} pixels, not of {total}")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts)


def decode_runs(counts, own_size, where, size):
    """Run lengths of COCO, down the columns, as bool (height, width).

    Args:
        counts: list of numbers, or text if they are compressed.
        own_size: (height, width) that they were written for.
        where: the file and the object, for messages.
        size: (height, width) of the image.

    Raises: InputError if they are damaged, or not of this image.
    """
    try:
        if tuple(own_size) != tuple(size):
            raise ValueError(f"its size is {list(own_size)}, that of the image {list(size)}")
        runs = unpack_runs(counts) if isinstance(counts, str) else counts
        return expand_runs(runs, size[0] * size[1]).reshape(size[::-1]).T
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{where}: {error}; export it anew.") from error


def unpack_runs(text):
    """The run lengths of COCO's compressed text. pycocotools does not notice if it is damaged, and
    writes beyond its memory then.

    Each sign holds five bits of a number, the lowest first; the sixth says that more follow. From
    the fourth on, a number is the difference to the run length two before.

    Raises: ValueError if the text is damaged.
    """
    counts, value, bits = [], 0, 0
    for sign in text:
        code = ord(sign) - ord("0")
        if not 0 <= code < 64 or bits > 30:
            raise ValueError(f"its run lengths hold {sign!r}, which is damaged")
        value |= (code & 31) << bits
        bits += 5
        if not code & 32:
            value -= (code & 16) << (bits - 4)  # the highest bit is the sign
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = bits = 0
    if bits:
        raise ValueError("its run lengths are cut off")
    return counts
