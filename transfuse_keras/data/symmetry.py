"""Which classes are left and right of one another, and whether a mirrored image could be real."""

import re

import cv2
import numpy as np

from transfuse_keras.data.resize import resize_channels

SMALL = 32  # pixels of the maps that are compared
ENOUGH = 8  # images that show a class, from which on its mean place says something
LIKE_PARTNER, LIKE_ITSELF = 0.7, 0.3  # of one class to the mirrored other, and to itself mirrored
SIDES = {"left": "right", "l": "r", "lt": "rt"}
SIDES |= {right: left for left, right in SIDES.items()}


def shrink(masks):
    """Masks uint8 (H, W, M) as shares of pixels, float32 (SMALL, SMALL, M)."""
    return resize_channels(masks.astype("float32"), (SMALL, SMALL), cv2.INTER_AREA)


def find_sides(classes, maps):
    """Which classes a left-right flip exchanges.

    Names tell it (left_femur and right_femur); else the masks do, where the mirrored mean mask of
    one class lies where another is.

    Args:
        classes: names of the M classes.
        maps: list of what `shrink` gave.

    Returns: pairs of names, and whether a name speaks of a side that has no partner.
    """
    partners = {name: find_partner(name, classes) for name in classes}
    named = {name: other for name, other in partners.items() if other}
    if named:
        pairs = tuple((a, b) for a, b in named.items() if b in classes and a < b)
        return pairs, any(b not in classes for b in named.values())
    means = halves(maps, classes)
    pairs = []
    for i, first in enumerate(classes):
        for j, second in enumerate(classes[i + 1 :], i + 1):
            both = means[i] and means[j]
            if (
                both
                and min(likeness(means[i], means[j]), likeness(means[j], means[i])) > LIKE_PARTNER
                and max(likeness(means[k], means[k]) for k in (i, j)) < LIKE_ITSELF
            ):
                pairs.append((first, second))
    return tuple(pairs), False


def find_partner(name, classes):
    """The name with the other side in it, as it is among the classes if it is there; None if the
    name speaks of no side."""
    words = re.split(r"([_\W])", name)
    swapped = [SIDES.get(word.lower(), word) for word in words]
    if swapped == words:
        return None
    wanted = "".join(swapped).lower()
    return next((other for other in classes if other.lower() == wanted), wanted)


def find_symmetry(classes, mirror_pairs, maps):
    """(left-right, up-down): the smallest likeness of a class to its mirrored partner, or to
    itself without one; None if no class is in enough images."""
    partner = {a: b for pair in mirror_pairs for a, b in (pair, pair[::-1])}
    means = dict(zip(classes, halves(maps, classes), strict=True))
    known = [
        (means[name], means[partner.get(name, name)])
        for name in classes
        if means[name] and means[partner.get(name, name)]
    ]
    if not known:
        return None
    return (
        min(likeness(first, second) for first, second in known),
        min(likeness(first, first, axis=0) for first, _ in known),
    )


def halves(maps, classes):
    """For each class the mean maps of every other image that shows it, and of the rest; None if
    these are too few."""
    stacked = np.array(maps).reshape(-1, SMALL, SMALL, len(classes))
    found = []
    for i in range(len(classes)):
        shown = stacked[stacked[..., i].any(axis=(1, 2)), ..., i]
        enough = len(shown) >= ENOUGH
        found.append((shown[::2].mean(axis=0), shown[1::2].mean(axis=0)) if enough else None)
    return found


def likeness(first, second, axis=1):
    """How much the mirrored mean map of one class has in common with that of another: 1 if it is
    as much as two halves of the data have."""
    mirrored = common(np.flip(first[0], axis), second[1])
    return mirrored / max(common(*second), 1e-9)


def common(a, b):
    """The share of two maps that is in both."""
    return float(2 * np.minimum(a, b).sum() / max(a.sum() + b.sum(), 1e-9))
