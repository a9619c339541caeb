"""How large a structure is: area, longest diameter and the one perpendicular to it, volume."""

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull

# where the border between a pixel and its neighbours is crossed, as marching squares does at 1/2
CROSSINGS = np.array([[0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5]])


def measure_plane(mask, spacing=(1.0, 1.0)):
    """Sizes of the structure that a mask shows.

    The area is that of all its pixels. Diameters are those of its largest part, the first of
    equals; pixels are connected by a common side. They are taken between points halfway from the
    pixels inside to those outside, as scikit-image does it. The perpendicular one is the
    longest line across the convex hull at right angles to the longest diameter.

    Args:
        mask: 0/1 (H, W).
        spacing: (row, column) of a pixel in mm; with (1, 1) all is in pixels.

    Returns: {"parts": their number, "area": mm2, "longest": mm, "perpendicular": mm}, without the
    diameters if the mask is empty.
    """
    labels, parts = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())[1:]
    found = {"parts": parts, "area": float(sizes.sum() * np.prod(spacing))}
    if not parts:
        return found
    part = labels == 1 + sizes.argmax()
    border = np.argwhere(part & ~ndimage.binary_erosion(part))
    points = (border[:, None] + CROSSINGS).reshape(-1, 2) * spacing
    hull = points[ConvexHull(points).vertices]
    distances = np.linalg.norm(hull[:, None] - hull, axis=-1)
    start, end = np.unravel_index(distances.argmax(), distances.shape)
    longest = float(distances[start, end])
    along = (hull[end] - hull[start]) / longest
    across = measure_perpendicular(hull - hull[start], along)
    return {**found, "longest": longest, "perpendicular": across}


def measure_perpendicular(hull, along):
    """The longest line across a convex polygon (N, 2) at right angles to its longest diameter,
    which runs from the origin in the direction `along`."""
    places, heights = hull @ along, hull @ (-along[1], along[0])
    sides = []
    for side in (heights >= -1e-9, heights <= 1e-9):
        order = np.argsort(places[side])
        sides.append(np.interp(places, places[side][order], heights[side][order]))
    return float((sides[0] - sides[1]).max())


def measure_volume(mask, spacing):
    """Sizes of the structure that a mask shows, slice by slice and as a whole.

    Args:
        mask: 0/1 (D, H, W).
        spacing: (slice, row, column) in mm.

    Returns: those of the whole, {"parts": their number, joined by a common face, "volume": mm3} and
    the diameters of the slice in which the longest is longest; and {number of a slice, from 1: what
    `measure_plane` gives} of the slices that are not empty.
    """
    slices = {
        number: measure_plane(plane, spacing[1:])
        for number, plane in enumerate(mask, 1)
        if plane.any()
    }
    whole = {
        "parts": ndimage.label(mask)[1],
        "volume": float(np.count_nonzero(mask) * np.prod(spacing)),
    }
    if slices:
        largest = max(slices.values(), key=lambda found: found["longest"])
        whole |= {name: largest[name] for name in ("longest", "perpendicular")}
    return whole, slices
