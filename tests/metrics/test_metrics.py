import math

import numpy as np
import pytest
from scipy.ndimage import binary_erosion, gaussian_filter
from scipy.spatial.distance import cdist

from transfuse_keras import metrics


def square(top, left, side=4, shape=(12, 16)):
    mask = np.zeros(shape, bool)
    mask[top : top + side, left : left + side] = True
    return mask


EMPTY = np.zeros((12, 16), bool)


def test_overlap_worked_by_hand():
    a, b = square(2, 2), square(2, 4)  # 16 pixels each, 8 in common
    assert metrics.dice(a, b) == 0.5
    assert metrics.iou(a, b) == 8 / 24
    assert metrics.dice(a, a) == metrics.iou(a, a) == 1
    assert metrics.dice(a, square(7, 9)) == metrics.iou(a, square(7, 9)) == 0


def test_empty_masks():
    a = square(2, 2)
    for score in (metrics.dice, metrics.iou):
        assert score(EMPTY, EMPTY) == 1
        assert score(a, EMPTY) == score(EMPTY, a) == 0
    for score in (metrics.hd, metrics.hd95, metrics.asd, metrics.assd):
        assert all(math.isnan(score(*pair)) for pair in [(EMPTY, EMPTY), (a, EMPTY), (EMPTY, a)])


def test_two_pixels_are_as_far_apart_as_the_spacing_says():
    a, b = square(1, 1, side=1), square(4, 5, side=1)
    for score in (metrics.hd, metrics.hd95, metrics.asd, metrics.assd):
        assert score(a, b) == 5
        assert score(a, b, spacing=2.0) == 10
        assert score(a, b, spacing=(4.0, 1.25)) == 13


def test_directed_distances_of_a_pixel_and_a_line():
    point, line = square(5, 3, side=1), EMPTY.copy()
    line[5, 3:7] = True  # distances 0, 1, 2, 3 from the point
    assert metrics.asd(point, line) == 1.5
    assert metrics.asd(line, point) == 0
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
        metrics.dice(EMPTY, EMPTY[1:])
    with pytest.raises(ValueError, match="differ in shape"):
        metrics.hd(EMPTY, EMPTY[1:])
    with pytest.raises(ValueError, match="must be positive"):
        metrics.hd(EMPTY, EMPTY, spacing=(1, 0))


def random_masks(seed):
    rng = np.random.default_rng(seed)
    shape = rng.integers(4, 30, size=2 + seed % 2)
    blobs = [gaussian_filter(rng.standard_normal(shape), rng.uniform(0.5, 3)) for _ in range(2)]
    masks = [blob > np.quantile(blob, rng.uniform(0.3, 0.97)) for blob in blobs]
    return *masks, rng.uniform(0.3, 3, len(shape))


@pytest.mark.parametrize("seed", range(40))
def test_distances_are_those_of_a_plain_double_loop(seed):
    truth, prediction, spacing = random_masks(seed)
    points = [np.argwhere(m & ~binary_erosion(m)) * spacing for m in (truth, prediction)]
    distances = cdist(*points)
    missed, extra = distances.min(axis=1), distances.min(axis=0)
    scores = metrics.surface_scores(truth, prediction, spacing)
    assert scores["hd"] == pytest.approx(max(missed.max(), extra.max()))
    assert scores["hd95"] == pytest.approx(np.percentile([*missed, *extra], 95))
    assert scores["asd"] == pytest.approx(extra.mean())
    assert scores["assd"] == pytest.approx(np.mean([*missed, *extra]))


@pytest.mark.parametrize("seed", range(40, 80))
def test_agrees_with_medpy(seed):
    binary = pytest.importorskip("medpy.metric.binary")
    truth, prediction, spacing = random_masks(seed)
    for name, distance in metrics.surface_scores(truth, prediction, spacing).items():
        wanted = getattr(binary, name)(prediction, truth, voxelspacing=spacing)
        assert distance == pytest.approx(wanted, abs=1e-6), name
    assert metrics.dice(truth, prediction) == pytest.approx(binary.dc(prediction, truth))
    assert metrics.iou(truth, prediction) == pytest.approx(binary.jc(prediction, truth))


def test_streaming_dice_is_the_mean_over_images_with_the_class():
    rng = np.random.default_rng(0)
    truth = rng.random((7, 8, 8, 3)) > 0.6
    truth[2:5, ..., 1] = False
    truth[..., 2] = False  # a class that never occurs is left out
    logits = rng.standard_normal((7, 8, 8, 3)).astype("float32")
    wanted = np.mean(
        [
            np.mean([metrics.dice(truth[i, ..., k], logits[i, ..., k] >= 0) for i in cases])
            for k, cases in [(0, range(7)), (1, [0, 1, 5, 6])]
        ]
    )
    metric = metrics.DiceScore(classes=3)
    for batches in ([7], [3, 4], [1, 5, 1]):
        metric.reset_state()
        start = 0
        for size in batches:
            part = slice(start, start + size)
            metric.update_state(truth[part], logits[part])
            start += size
        assert float(metric.result()) == pytest.approx(wanted, abs=1e-6)


def test_streaming_dice_weighs_images():
    truth = np.ones((2, 4, 4, 1))
    logits = np.stack([np.ones((4, 4, 1)), -np.ones((4, 4, 1))])  # Dice 1 and 0
    metric = metrics.DiceScore()
    assert float(metric.result()) == 0
    metric.update_state(truth, logits, sample_weight=np.array([3.0, 1.0]))
    assert float(metric.result()) == pytest.approx(0.75)
