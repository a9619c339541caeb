"""The outlines of masks: every object with its holes, so that filling them gives the mask again.

There are two conventions. Along the sides of the pixels: (0, 0) is the top left corner of the
image, and the first pixel reaches to (1, 1), as COCO, `data.shapes` and QuPath have it. Through the
pixels: (0, 0) is the first pixel, and an outline belongs to its object, as LabelMe has it.
"""

import cv2
import numpy as np


def trace_objects(mask, sides=True):
    """The objects of a mask, outlined with OpenCV.

    Pixels that have a side in common are one object.

    Args:
        mask: 0/1 (H, W).
        sides: along the sides of the pixels, else through the pixels.

    Returns: for each object a list of rings, int (N, 2) of x, y: the outer one, then its holes. No
    pixel of an outline is left out.
    """
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(
        np.ascontiguousarray(mask, "uint8"), connectivity=4
    )
    objects = []
    for number in range(1, count):
        x, y, width, height = boxes[number, :4]
        own = (labels[y : y + height, x : x + width] == number).astype("uint8")
        if sides:  # each half of a pixel lies at a side of it
            own = own.repeat(2, axis=0).repeat(2, axis=1)
        found, tree = cv2.findContours(own, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        is_hole = tree[0, :, 3] >= 0
        rings = [found[i][:, 0] for i in np.argsort(is_hole, kind="stable")]
        objects.append([((ring + 1) // 2 if sides else ring) + (x, y) for ring in rings])
    return objects


def join_holes(rings):
    """The rings of an object as one: a cut of no width leads into each hole and back.

    Args:
        rings: of an object, by `trace_objects`.
    """
    whole, *holes = rings
    for hole in sorted(holes, key=lambda ring: ring[:, 0].min()):
        start = hole[:, 0].argmin()
        x, y = hole[start]
        # leftwards is the outer ring, or a hole that reaches further left and is joined already
        candidates = np.flatnonzero((whole[:, 1] == y) & (whole[:, 0] <= x))
        at = candidates[whole[candidates, 0].argmax()]
        into = np.concatenate([hole[start:], hole[: start + 1]])
        whole = np.concatenate([whole[: at + 1], into, whole[at:]])
    return whole


def leave_out_straight(ring):
    """A ring without the points on its straight lines."""
    ring = ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)]
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    returns = (before * after).sum(axis=1) < 0
    return ring[turns | returns]
