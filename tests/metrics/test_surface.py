import math

import numpy as np
import pytest
from conftest import FIXTURES
from metrics.masks import all_pairs, random_pairs, square
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist

from transfuse_keras import metrics

EMPTY = np.zeros((12, 16), bool)
SCORES = (metrics.hd, metrics.hd95, metrics.asd, metrics.assd)


def test_distances_of_an_empty_mask_are_undefined():
    a = square(2, 2)
    for pair in [(EMPTY, EMPTY), (a, EMPTY), (EMPTY, a)]:
        assert all(math.isnan(score(*pair)) for score in SCORES)


def test_two_pixels_are_as_far_apart_as_the_spacing_says():
    a, b = square(1, 1, side=1), square(4, 5, side=1)
    for score in SCORES:
        assert score(a, b) == 5
        assert score(a, b, spacing=2.0) == 10
        assert score(a, b, spacing=(4.0, 1.25)) == 13


def test_directed_distances_of_a_pixel_and_a_line():
    point, line = square(5, 3, side=1), EMPTY.copy()
    line[5, 3:7] = True  # distances 0, 1, 2, 3 from the point
    assert metrics.asd(point, line) == 1.5
    assert metrics.asd(line, point) == 0
    assert metrics.asd(point, line, spacing=(1, 2)) == 3
    assert metrics.assd(point, line) == metrics.assd(line, point) == 6 / 5
    assert metrics.hd(point, line) == 3
    assert metrics.hd95(point, line) == np.percentile([0, 0, 1, 2, 3], 95)


def test_the_image_border_is_background():
    full, inner = np.ones((9, 9), bool), np.zeros((9, 9), bool)
    inner[1:-1, 1:-1] = True
    assert metrics.assd(full, inner) > 0
    missed, _ = metrics.surface_distances(full, inner)
    assert len(missed) == 32  # the frame of a full 9x9 image


def test_unusable_arguments_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        metrics.hd(EMPTY, EMPTY[1:])
    with pytest.raises(ValueError, match="must be positive"):
        metrics.hd(EMPTY, EMPTY, spacing=(1, 0))
    for spacing in ((1,), (1, 1, 1)):
        with pytest.raises(ValueError, match="each of the 2 axes"):
            metrics.hd(EMPTY, EMPTY, spacing=spacing)


@pytest.mark.parametrize("ndim", [2, 3])
def test_distances_are_those_of_a_plain_double_loop(ndim):
    for name, truth, prediction, spacing in random_pairs(ndim, 30):
        points = [np.argwhere(m & ~binary_erosion(m)) * spacing for m in (truth, prediction)]
        distances = cdist(*points)
        missed, extra = distances.min(axis=1), distances.min(axis=0)
        wanted = {
            "hd": max(missed.max(), extra.max()),
            "hd95": np.percentile([*missed, *extra], 95),
            "asd": extra.mean(),
            "assd": np.mean([*missed, *extra]),
        }
        assert metrics.surface_scores(truth, prediction, spacing) == pytest.approx(wanted), name


def test_surface_dice_is_monais():
    """monai_surface_dice.npz: `compute_surface_dice` of MONAI 1.6.1 for tolerances 0.5 and 2; of
    two empty masks it gives nan."""
    golden = np.load(FIXTURES / "monai_surface_dice.npz")["nsd"]
    for (name, truth, prediction, spacing), wanted in zip(all_pairs(), golden, strict=True):
        found = [metrics.nsd(truth, prediction, tolerance, spacing) for tolerance in (0.5, 2)]
        if not (truth.any() or prediction.any()):
            assert found == [1, 1] and np.isnan(wanted).all()
            continue
        assert found == pytest.approx(list(wanted), abs=1e-6), name


def test_a_surface_that_is_moved_by_the_tolerance_is_right_and_by_more_is_not():
    a, b = square(2, 2), square(4, 2)  # a frame of 12 pixels, two rows lower
    # of each square the two rows that stand on the other's sides are nearer than 2 pixels
    assert metrics.nsd(a, b, 2) == 1 and metrics.nsd(a, b, 2, spacing=1.01) < 1
    assert metrics.nsd(a, b, 1, spacing=0.5) == metrics.nsd(a, a, 0) == 1
    assert metrics.nsd(a, EMPTY, 5) == metrics.nsd(EMPTY, a, 5) == 0
    for tolerance in (-1, math.nan):
        with pytest.raises(ValueError, match="tolerance"):
            metrics.nsd(a, b, tolerance)


def test_a_pixel_as_far_as_the_tolerance_is_within_it_where_the_spacing_was_a_float32():
    a, b = square(2, 2), square(4, 2)
    stored = float(np.float32(0.1))
    assert stored > 0.1 and metrics.nsd(a, b, 0.2, stored) == metrics.nsd(a, b, 2) == 1
    assert metrics.nsd(a, b, 0.1999, stored) < 1


def test_agrees_with_medpy():
    binary = pytest.importorskip("medpy.metric.binary")
    for name, truth, prediction, spacing in all_pairs():
        scores = metrics.surface_scores(truth, prediction, spacing)
        if not (truth.any() and prediction.any()):
            with pytest.raises(RuntimeError):
                binary.hd(prediction, truth, spacing)
            assert all(math.isnan(distance) for distance in scores.values()), name
            continue
        wanted = {key: getattr(binary, key)(prediction, truth, spacing) for key in scores}
        assert scores == pytest.approx(wanted, rel=0, abs=1e-6), name
        assert metrics.asd(prediction, truth, spacing) == pytest.approx(
            binary.asd(truth, prediction, spacing), rel=0, abs=1e-6
        ), name
