import cv2
import numpy as np
import pytest
from scipy.stats import ks_2samp
from sklearn.linear_model import LogisticRegression

from transfuse_keras.data.phantoms import PHANTOMS, draw_phantom, phantoms, volume_spacing

CLASSES = ("pelvis", "left_femur", "right_femur")


@pytest.fixture(scope="module")
def hips():
    return phantoms("hip", 160, (128, 128), seed=5)


@pytest.fixture(scope="module", params=["polyp", "skin"])
def photographs(request):
    return request.param, *phantoms(request.param, 160, (128, 128), seed=5)


@pytest.fixture(scope="module")
def prostates():
    return zip_stack(draw_phantom("prostate", (96, 96), 5, i) for i in range(16))


def zip_stack(pairs):
    return tuple(np.stack(column) for column in zip(*pairs, strict=True))


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
    assert images.dtype == (np.float32 if name == "prostate" else np.uint8)
    assert masks.dtype == np.uint8 and images.shape[:3] == masks.shape[:3] == (5, 64, 96)
    assert set(np.unique(masks)) == {0, 1}
    assert spacing.shape == (2,)
    none, no_masks, _ = phantoms(name, 0, (64, 96))
    assert (none.dtype, no_masks.dtype) == (images.dtype, masks.dtype)
    assert none.shape == (0, *images.shape[1:]) and no_masks.shape == (0, *masks.shape[1:])


@pytest.mark.parametrize(
    "name, field",
    [("hip", (350, 420)), ("polyp", (56, 70)), ("skin", (18, 24)), ("prostate", (200, 200))],
)
def test_spacing_times_size_is_the_field_of_view(name, field):
    for size in [(128, 128), (192, 256)]:
        _, _, spacing = phantoms(name, 0, size)
        np.testing.assert_allclose(spacing * size, field)


def test_images_of_volumes_are_their_slices_in_order():
    images, masks, _ = phantoms("prostate", 20, (48, 64), seed=2)
    for start, volume, count in [(0, 0, 16), (16, 1, 4)]:
        image, mask = draw_phantom("prostate", (48, 64), 2, volume)
        assert image.shape == mask.shape == (16, 48, 64, 2)
        np.testing.assert_array_equal(images[start : start + count], image[:count])
        np.testing.assert_array_equal(masks[start : start + count], mask[:count])
    np.testing.assert_allclose(volume_spacing("prostate", (100, 50)), (3.6, 2.0, 4.0))


@pytest.mark.parametrize(
    "name, least", [("hip", 0.97), ("polyp", 0.97), ("skin", 0.97), ("prostate", 0.95)]
)
def test_the_anatomy_does_not_depend_on_the_size(name, least):
    count = 32 if name == "prostate" else 8
    _, small, _ = phantoms(name, count, (128, 128), seed=1)
    _, large, _ = phantoms(name, count, (256, 256), seed=1)
    shrunk = large.reshape(count, 128, 2, 128, 2, -1).mean(axis=(2, 4)) >= 0.5
    for i in range(small.shape[-1]):
        present = small[..., i].any(axis=(1, 2))
        assert present.sum() >= 8
        assert dice(shrunk[present, ..., i], small[present, ..., i] > 0) > least


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


def best_dice_by_intensity(images, masks, class_weight):
    """Mean Dice (M,) of logistic regression on a pixel's channels, at its best threshold."""
    half = len(images) // 2
    scale = images[:half].std()
    train, test = (part.reshape(-1, images.shape[-1]) / scale for part in np.split(images, [half]))
    pixels = np.random.default_rng(0).choice(len(train), 50_000, replace=False)
    best = []
    for truth in np.moveaxis(masks > 0, -1, 0):
        regression = LogisticRegression(class_weight=class_weight)
        regression.fit(train[pixels], truth[:half].ravel()[pixels])
        score = regression.decision_function(test).reshape(truth[half:].shape)
        thresholds = [0.0, *np.quantile(score, [*np.linspace(0.05, 0.95, 19), 0.97, 0.98, 0.99])]
        best.append(max(dice(score >= t, truth[half:]) for t in thresholds))
    return best


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_intensity_of_a_pixel_is_not_enough(hips, class_weight):
    images, masks, _ = hips
    assert max(best_dice_by_intensity(images[..., :1], masks, class_weight)) < 0.6


def test_colour_of_a_pixel_is_not_enough(photographs):
    _, images, masks, _ = photographs
    assert best_dice_by_intensity(images, masks, "balanced")[0] < 0.75


def test_both_signals_of_a_voxel_are_not_enough(prostates):
    images, masks = prostates
    middle = slice(5, 11)
    images, masks = (part[:, middle].reshape(-1, 96, 96, 2) for part in (images, masks))
    assert max(best_dice_by_intensity(images, masks, "balanced")) < 0.7


def test_polyps_and_lesions_are_there_and_vary(photographs):
    name, images, masks, _ = photographs
    assert set(np.unique(masks)) == {0, 1}
    areas = masks.mean(axis=(1, 2, 3))
    assert (areas > 0.002).mean() >= 0.95 and areas.max() < 0.8
    assert areas.std() > 0.3 * areas.mean()
    border = np.concatenate([masks[:, [0, -1]], masks[:, :, [0, -1]].swapaxes(1, 2)], axis=1)
    cut = border.any(axis=(1, 2, 3)).mean()
    assert (0.1 if name == "polyp" else 0) < cut < 0.6
    # colours of one place differ from case to case, and no two channels are the same
    assert (images[:, 60:68, 60:68].mean(axis=(1, 2)).std(axis=0) > 15).all()
    assert (np.ptp(images.mean(axis=(1, 2)), axis=1) > 2).all()


def test_zones_are_exclusive_and_peripheral_is_behind(prostates):
    _, masks = prostates
    assert masks.sum(axis=-1).max() == 1
    assert masks[:, 6:10].any(axis=(2, 3)).all()
    rows = np.arange(masks.shape[2])
    for slices in masks[:, 6:10].reshape(-1, 96, 96, 2):
        peripheral, transition = (np.average(rows, weights=slices[..., i].sum(1)) for i in (0, 1))
        assert peripheral > transition


def test_the_gland_begins_and_ends_within_the_volume(prostates):
    _, masks = prostates
    present = masks.any(axis=(2, 3, 4))
    assert not present[:, [0, -1]].any() and present[:, 2:-2].all()
    areas = masks.any(axis=-1).sum(axis=(2, 3)).astype(float)
    steps = np.abs(np.diff(areas[:, 2:-2], axis=1)) / areas.max(axis=1, keepdims=True)
    assert steps.max() < 0.4


def test_volumes_are_z_scored(prostates):
    images, _ = prostates
    np.testing.assert_allclose(images.mean(axis=(1, 2, 3), dtype="float64"), 0, atol=1e-3)
    np.testing.assert_allclose(images.std(axis=(1, 2, 3), dtype="float64"), 1, atol=1e-3)


def test_both_femurs_share_one_intensity_distribution():
    images, masks, _ = phantoms("hip", 600, (64, 64), seed=6)
    left, right = (images[..., 0][masks[..., i] > 0] for i in (1, 2))
    assert ks_2samp(left, right).statistic < 0.05
    assert abs(left.mean() - right.mean()) < 0.03 * left.mean()


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="no phantoms of 'knee'.* hip, polyp, skin, prostate"):
        phantoms("knee", 1)
    for count in (-1, 2.0):
        with pytest.raises(ValueError, match="count must be"):
            phantoms("hip", count)
    for size in (64, (0, 64), (64, 7), (64, 64, 3)):
        with pytest.raises(ValueError, match="size must be .height, width., each from 8 on"):
            phantoms("hip", 1, size)
