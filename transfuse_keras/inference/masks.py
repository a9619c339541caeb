"""From probabilities to masks: thresholds, and the sure or largest components of classes."""

import cv2
import numpy as np

MARGIN = 0.05  # a component may be so much less sure than the surest


def to_masks(probabilities, threshold=0.5, exclusive=False, sure=()):
    """Probabilities (..., M) as uint8 0/1 masks of the same shape.

    A map is 1 where its probability reaches the threshold; with `exclusive`, only the most
    probable map of a pixel can be, and none is where that one stays below its threshold. Then
    of the `sure` classes only sure components stay, see `sure_components`.

    Args:
        probabilities: floats (..., M); (H, W, M) where there are `sure` classes.
        threshold: a number, or one for each of the M classes.
        exclusive: whether a pixel belongs to one class at most.
        sure: indices of classes.
    """
    # compared in the precision of the probabilities, so that 0.3 reaches 0.3
    masks = probabilities >= np.asarray(threshold, probabilities.dtype)
    if exclusive:
        best = probabilities.argmax(axis=-1)[..., None]
        masks &= best == np.arange(probabilities.shape[-1])
    masks = masks.astype("uint8")
    for k in sure:
        masks[..., k] = sure_components(masks[..., k], probabilities[..., k])
    return masks


def sure_components(mask, probabilities):
    """Of a mask the surest connected component, that with the highest mean probability, and those
    whose mean is lower by MARGIN at most. Pixels are connected by a common side.

    Args:
        mask: uint8 0/1 (H, W).
        probabilities: floats (H, W).

    Returns: uint8 0/1 (H, W).

    Example:
        >>> import numpy as np
        >>> probabilities = np.array([[0.6, 0.7, 0.1, 0.9, 0.2, 0.86]])
        >>> sure_components((probabilities > 0.5).astype("uint8"), probabilities).tolist()
        [[0, 0, 0, 1, 0, 1]]
    """
    count, labels = cv2.connectedComponents(np.ascontiguousarray(mask), connectivity=4)
    if count <= 2:  # the background is one of them
        return mask
    sums = np.bincount(labels.ravel(), np.ravel(probabilities))
    means = sums / np.bincount(labels.ravel())
    kept = means >= means[1:].max() - MARGIN
    kept[0] = False
    return kept[labels].astype("uint8")


def largest_component(masks):
    """Of every class only its largest connected component, the first of equals.

    Pixels are connected by a common side, voxels by a common face, as in nnU-Net's clean-up.

    Args:
        masks: 0/1 (H, W, M) of an image or (D, H, W, M) of a volume.

    Returns: 0/1 of the same shape and dtype.
    """
    from scipy import ndimage  # takes a second, and few tasks need it

    kept = np.zeros_like(masks)
    for k in range(masks.shape[-1]):
        components, count = ndimage.label(masks[..., k])
        if count:
            sizes = np.bincount(components.ravel())[1:]
            kept[..., k] = components == 1 + sizes.argmax()
    return kept


def largest_region(masks):
    """Of all classes together only the largest connected component, as `largest_component`."""
    return masks * largest_component(masks.any(axis=-1, keepdims=True).astype(masks.dtype))


def clean(masks, cleanup):
    """Masks of a volume as its cross-validation found best, see `find_cleanup`: first all classes
    cut to their largest component together, then each class; None changes nothing."""
    if cleanup is None:
        return masks
    if cleanup["largest_region"]:
        masks = largest_region(masks)
    chosen = list(cleanup["largest_component"].values())
    return np.where(chosen, largest_component(masks), masks)


def clean_up(masks):
    """The ways in which nnU-Net cleans masks up, to see which raise the scores.

    Args:
        masks: 0/1 (..., M).

    Returns: {"cleaned": every class by `largest_component`, "region": see `largest_region`,
    "region-cleaned": the one after the other} -> masks; with one class they are all the same, so
    only the first is there.
    """
    cleaned = {"cleaned": largest_component(masks)}
    if masks.shape[-1] == 1:
        return cleaned
    region = largest_region(masks)
    return {**cleaned, "region": region, "region-cleaned": largest_component(region)}
