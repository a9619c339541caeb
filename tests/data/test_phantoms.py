import cv2
import numpy as np
import pytest
from scipy.stats import ks_2samp
from sklearn.linear_model import LogisticRegression

from transfuse_keras.data.phantoms import PHANTOMS, phantoms

CLASSES = ("pelvis", "left_femur", "right_femur")


@pytest.fixture(scope="module")
def hips():
    return phantoms("hip", 160, (128, 128), seed=5)


def dice(predicted, truth):
    """Mean Dice over images of boolean (N, H, W)."""
    both = (predicted & truth).sum((1, 2))
    return np.mean(2 * both / np.maximum(predicted.sum((1, 2)) + truth.sum((1, 2)), 1))


@pytest.mark.parametrize("name", PHANTOMS)
def test_a_case_is_a_function_of_seed_number_and_size(name):
    images, masks, spacing = phantoms(name, 5, (64, 96), seed=3)
    again, again_masks, _ = phantoms(name, 3, (64, 96), seed=3)
    np.testing.assert_array_equal(images[:3], again)
    np.testing.assert_array_equal(masks[:3], again_masks)
    other, _, _ = phantoms(name, 5, (64, 96), seed=4)
    assert (images != other).any(axis=(1, 2, 3)).all()
    assert images.dtype == masks.dtype == np.uint8
    assert set(np.unique(masks)) == {0, 1}
    assert spacing.shape == (2,)
    none, no_masks, _ = phantoms(name, 0, (64, 96))
    assert none.shape == (0, *images.shape[1:]) and no_masks.shape == (0, *masks.shape[1:])


def test_spacing_times_size_is_the_field_of_view():
    for size in [(128, 128), (192, 256)]:
        _, _, spacing = phantoms("hip", 0, size)
        np.testing.assert_allclose(spacing * size, (350, 420))


def test_the_anatomy_does_not_depend_on_the_size():
    _, small, _ = phantoms("hip", 8, (128, 128), seed=1)
    _, large, _ = phantoms("hip", 8, (256, 256), seed=1)
    shrunk = large.reshape(8, 128, 2, 128, 2, 3).mean(axis=(2, 4)) >= 0.5
    for i in range(3):
        assert dice(shrunk[..., i], small[..., i] > 0) > 0.97


def test_left_is_on_the_right_of_the_image(hips):
    _, masks, _ = hips
    columns = np.arange(masks.shape[2])
    for mask in masks:
        left, right = (np.average(columns, weights=mask[..., i].sum(axis=0) + 1e-9) for i in (1, 2))
        assert left > right


def test_anatomy_varies_as_stated(hips):
    _, masks, _ = hips
    present = masks.any(axis=(1, 2)).mean(axis=0)
    assert (present >= 0.95).all()
    overlap = masks[..., 0] & (masks[..., 1] | masks[..., 2])
    assert overlap.any(axis=(1, 2)).mean() > 0.9
    border = masks[:, -1].any(axis=(1, 2))
    assert 0.3 < border.mean() < 1  # collimation hides the lower border of the others
    holes = [cv2.connectedComponents(1 - np.pad(mask[..., 0], 1))[0] > 2 for mask in masks]
    assert np.mean(holes) > 0.9
    areas = masks.mean(axis=(1, 2))
    assert (areas.std(axis=0) > 0.05 * areas.mean(axis=0)).all()


def test_otsu_is_not_enough(hips):
    images, masks, _ = hips
    bright = np.stack(
        [cv2.threshold(image[..., 0], 0, 1, cv2.THRESH_OTSU)[1] > 0 for image in images]
    )
    for i, name in enumerate(CLASSES):
        assert dice(bright, masks[..., i] > 0) < 0.6, name
        assert dice(~bright, masks[..., i] > 0) < 0.6, name


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_intensity_of_a_pixel_is_not_enough(hips, class_weight):
    images, masks, _ = hips
    intensity = images[..., :1] / 255
    train, test = slice(0, 80), slice(80, None)
    pixels = np.random.default_rng(0).choice(intensity[train].size, 50_000, replace=False)
    for i, name in enumerate(CLASSES):
        truth = masks[..., i] > 0
        regression = LogisticRegression(class_weight=class_weight)
        regression.fit(intensity[train].reshape(-1, 1)[pixels], truth[train].ravel()[pixels])
        probability = regression.predict_proba(intensity[test].reshape(-1, 1))[:, 1]
        probability = probability.reshape(truth[test].shape)
        thresholds = [0.5, *np.quantile(probability, np.linspace(0.05, 0.95, 19))]
        assert max(dice(probability >= t, truth[test]) for t in thresholds) < 0.6, name


def test_both_femurs_share_one_intensity_distribution():
    images, masks, _ = phantoms("hip", 600, (64, 64), seed=6)
    left, right = (images[..., 0][masks[..., i] > 0] for i in (1, 2))
    assert ks_2samp(left, right).statistic < 0.05
    assert abs(left.mean() - right.mean()) < 0.03 * left.mean()


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="no phantoms of 'knee'; known are hip"):
        phantoms("knee", 1)
