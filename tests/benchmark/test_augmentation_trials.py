"""The augmentations of benchmarks/augmentation_trials.py do to image and mask what they say."""

import cv2
import numpy as np

from benchmarks import augmentation_trials as trials
from transfuse_keras.tasks import Augmentation, Task


def disc(row, column):
    """An image with a bright disc, and its mask (48, 64, 1)."""
    mask = cv2.circle(np.zeros((48, 64), "uint8"), (column, row), 8, 1, -1)[..., None]
    return np.repeat(200 * mask + 20, 3, axis=2), mask


def test_elastic_moves_image_and_mask_alike():
    image, mask = disc(20, 30)
    bent, moved = trials.bend(image, mask, np.random.default_rng(0))
    assert (moved != mask).any()
    assert ((bent[..., :1] > 120) == moved).mean() > 0.98


def test_copy_paste_adds_the_lesion_before_with_its_truth():
    rng, (one, first), (other, second) = np.random.default_rng(0), disc(15, 15), disc(30, 45)
    one = one // 2
    last = {}
    trials.paste(one, first, rng, last)
    pasted, both = trials.paste(other, second, rng, last)
    np.testing.assert_array_equal(both, first | second)
    np.testing.assert_array_equal(pasted, np.where(first == 1, one, other))


def test_cut_out_greys_a_rectangle_and_leaves_the_truth():
    image, mask = disc(20, 30)
    cut, same = trials.cut_out(image, mask, np.random.default_rng(0))
    rows, columns = np.nonzero((cut == 128).all(axis=-1))
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert len(rows) == height * width and height < 24 and width < 32
    assert same is mask and (image != 128).all()


def test_clahe_changes_the_lightness_alone():
    image, mask = disc(20, 30)
    image = np.clip(image + np.random.default_rng(1).integers(0, 30, image.shape), 0, 255)
    changed, same = trials.equalize(image.astype("uint8"), mask, np.random.default_rng(0))
    assert same is mask and changed.dtype == np.uint8 and (changed != image).any()


def test_half_of_the_images_are_changed():
    task, calls = Task("t", ("a",), augmentation=Augmentation()), []
    rng, (image, mask) = np.random.default_rng(0), disc(20, 30)
    for _ in range(200):
        trials.augment_more(image, mask, task, rng, 0, [lambda *of: calls.append(1) or of[:2]])
    assert 75 < len(calls) < 125


def test_shrink_moves_image_and_mask_alike_and_repeats_the_border():
    image, mask = disc(20, 30)
    smaller, moved = trials.shrink(image, mask, np.random.default_rng(0))
    zoom = np.random.default_rng(0).uniform(0.5, 1)
    assert abs(moved.sum() / mask.sum() - zoom**2) < 0.1
    assert ((smaller[..., :1] > 120) == moved).mean() > 0.98
    assert (smaller >= 20).all()  # no black comes in from outside


def test_dark_corners_leave_the_middle():
    image, mask = disc(24, 32)
    changed, same = trials.darken_corners(image, mask, np.random.default_rng(4))
    assert same is mask
    np.testing.assert_array_equal(changed[20:28, 26:38], image[20:28, 26:38])
    assert (changed[[0, 0, -1, -1], [0, -1, 0, -1]] != 20).any()


def test_a_ruler_only_darkens():
    image, mask = disc(20, 30)
    drawn, same = trials.draw_ruler(image, mask, np.random.default_rng(0))
    assert same is mask and drawn.dtype == np.uint8
    darker = (drawn < image).all(axis=-1)
    assert 20 < darker.sum() < 600 and (drawn <= image).all()


def test_shade_changes_all_channels_by_one_factor():
    image, mask = np.full((48, 64, 3), (100, 120, 80), "uint8"), np.zeros((48, 64, 1), "uint8")
    shaded, same = trials.shade(image, mask, np.random.default_rng(0))
    factors = shaded / [100.0, 120.0, 80.0]
    assert same is mask and np.ptp(factors, axis=-1).max() < 0.02 and np.ptp(factors) > 0.1
