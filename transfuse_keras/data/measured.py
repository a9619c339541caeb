"""What single training samples show: the sizes, shapes and places that a plan is made from."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from transfuse_keras.data.decode import is_deep
from transfuse_keras.data.splits import limit_samples
from transfuse_keras.data.symmetry import shrink
from transfuse_keras.data.value_range import find_value_ranges, read_with
from transfuse_keras.errors import InputError
from transfuse_keras.tasks.task import Task

MOST_IMAGES, MOST_VOLUMES = 200, 40  # so many samples are read, from as many patients as can be
SPECK = 5  # pixels; what is smaller is no object


@dataclass(frozen=True)
class Measured:
    """What one sample shows.

    Attributes:
        shape: (height, width) in pixels.
        spacing: (row, column) in mm, or None.
        grey: whether the image has no colours.
        deep: whether its file has more than 8 bits.
        overlap: share of the labelled pixels that are in two classes.
        objects: number of separate objects, one for each slice with any.
        widths: diameter in pixels of the largest circle in a mask, for slices and classes (D, M).
        areas: share of pixels, for slices and classes (D, M).
        maps: masks at a small size, one for each slice with any.
        reach: how many rows and columns around the centre hold all that is labelled.
    """

    shape: tuple[int, int]
    spacing: tuple[float, float] | None
    grey: bool
    deep: bool
    overlap: float
    objects: list[int]
    widths: np.ndarray
    areas: np.ndarray
    maps: list[np.ndarray]
    reach: tuple[float, float]


def measure_all(samples):
    """Measured of some samples, spread over the patients.

    Args:
        samples: list of Sample, for training.

    Raises: InputError if a file cannot be read, or no mask shows anything.
    """
    volumes = samples[0].slices is not None
    chosen = limit_samples(samples, MOST_VOLUMES if volumes else MOST_IMAGES)
    if not volumes:
        chosen = read_with(chosen, find_value_ranges(Task("", ("any",)), samples))
    with ThreadPoolExecutor() as pool:
        measured = list(pool.map(measure_sample, chosen))
    if not any(one.maps for one in measured):
        raise InputError(
            f"{samples[0].files[-1].parent}: the masks of all {len(measured)} training samples "
            "that were read are empty, so there is nothing to learn."
        )
    return measured


def measure_sample(sample):
    """Measured of a Sample; InputError if it cannot be read."""
    image, masks = sample.read()
    volume = sample.slices is not None
    slices = (masks if volume else masks[None]) == 1
    height, width = slices.shape[1:3]
    shown = [one.astype("uint8") for one in slices if one.any()]
    return Measured(
        (height, width),
        sample.spacing and tuple(sample.spacing[-2:]),
        grey=not volume and not np.ptp(image, axis=-1).any(),
        deep=bool(sample.files) and is_deep(sample.files[0]),
        overlap=(slices.sum(axis=-1) > 1).sum() / max(slices.any(axis=-1).sum(), 1),
        objects=[sum(map(count_objects, layers(one))) for one in shown],
        widths=np.array([list(map(measure_width, layers(one))) for one in slices]),
        areas=slices.mean(axis=(1, 2)),
        maps=[shrink(one) for one in shown],
        reach=(reach_of(slices.any(axis=(0, 2, 3))), reach_of(slices.any(axis=(0, 1, 3)))),
    )


def layers(masks):
    """The masks (H, W) of (H, W, M), uint8 and in one piece as OpenCV wants them."""
    return np.ascontiguousarray(np.moveaxis(masks, -1, 0), "uint8")


def count_objects(mask):
    """The number of separate objects in a mask uint8 (H, W)."""
    _, _, found, _ = cv2.connectedComponentsWithStats(mask)
    return int((found[1:, cv2.CC_STAT_AREA] >= SPECK).sum())


def measure_width(mask):
    """Diameter in pixels of the largest circle in a mask uint8 (H, W); 0 if it is empty."""
    framed = np.pad(mask, 1)  # the edge of the image is an edge too
    farthest = cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).max()
    return max(2 * float(farthest) - 1, 0)  # between centres of pixels, one too far at either end


def reach_of(shown):
    """The length about the centre of a row of booleans in which all that are true lie."""
    places, centre = np.flatnonzero(shown), (len(shown) - 1) / 2
    return float(2 * abs(places - centre).max(initial=-0.5) + 1)
