from dataclasses import replace

import numpy as np
import pytest

from transfuse_keras.data.augmentation import (
    ALONE,
    add_noise,
    augment,
    blur,
    change_gamma,
    change_inverted_gamma,
    draw_pen_marks,
    draw_zoom,
    leave_out,
    lower_resolution,
    shift_colour,
)
from transfuse_keras.data.phantoms import phantoms
from transfuse_keras.tasks import TASKS, Augmentation, hip, prostate

SIZE = (48, 64)
STRONG = Augmentation(rotation=30, scale=0.3, shift=0.1, flip_horizontal=True, flip_vertical=True)


def with_augmentation(**changes):
    return replace(hip, augmentation=Augmentation(**changes))


def run(images, masks, task, seed=0, **given):
    rng = np.random.default_rng(seed)
    pairs = [augment(*pair, task, rng, **given) for pair in zip(images, masks, strict=True)]
    return tuple(np.stack(part) for part in zip(*pairs, strict=True))


def test_nothing_asked_changes_nothing():
    images, masks, _ = phantoms("hip", 3, SIZE)
    out, out_masks = run(images, masks, with_augmentation())
    np.testing.assert_array_equal(out, images)
    np.testing.assert_array_equal(out_masks, masks)


def test_a_horizontal_flip_swaps_left_and_right_femur():
    images, masks, _ = phantoms("hip", 32, SIZE)
    out, out_masks = run(images, masks, with_augmentation(flip_horizontal=True))
    flipped = (out != images).any(axis=(1, 2, 3))
    assert 0 < flipped.sum() < 32
    np.testing.assert_array_equal(out[flipped], images[flipped][:, :, ::-1])
    pelvis, left, right = np.moveaxis(masks[flipped][:, :, ::-1], -1, 0)
    np.testing.assert_array_equal(out_masks[flipped], np.stack([pelvis, right, left], axis=-1))
    np.testing.assert_array_equal(out_masks[~flipped], masks[~flipped])
    # what the model must learn stays true: the left femur is on the image's right
    columns = np.arange(SIZE[1])
    for mask in out_masks:
        left, right = (np.average(columns, weights=mask[..., i].sum(axis=0)) for i in (1, 2))
        assert left > right


def test_pen_marks_are_blue_to_purple():
    skin = np.full((60, 80, 3), 200, "uint8")
    drawn = draw_pen_marks(skin, 4, np.random.default_rng(0))
    ink = (drawn != skin).any(axis=2)
    assert drawn.dtype == np.uint8 and 0.01 < ink.mean() < 0.5
    red, green, blue = drawn[ink].astype(int).T
    assert ((blue > green) & (blue >= red)).mean() > 0.95 and blue.min() < 180


def test_half_of_the_images_get_pen_marks_and_keep_their_masks():
    images, masks = np.full((200, 16, 16, 3), 200, "uint8"), np.ones((200, 16, 16, 3), "uint8")
    drawn, same = run(images, masks, with_augmentation(), pen_marks=4)
    assert 75 < (drawn != 200).any(axis=(1, 2, 3)).sum() < 125
    np.testing.assert_array_equal(same, masks)


def test_a_vertical_flip_swaps_nothing():
    images, masks, _ = phantoms("hip", 16, SIZE)
    _, out_masks = run(images, masks, with_augmentation(flip_vertical=True))
    flipped = (out_masks != masks).any(axis=(1, 2, 3))
    assert 0 < flipped.sum() < 16
    np.testing.assert_array_equal(out_masks[flipped], masks[flipped][:, ::-1])


def test_both_flips_come_in_all_four_ways():
    images, masks, _ = phantoms("skin", 1, SIZE)
    task = replace(
        TASKS["skin"],
        augmentation=replace(Augmentation(), **{"flip_horizontal": True, "flip_vertical": True}),
    )
    out, out_masks = run(images.repeat(64, axis=0), masks.repeat(64, axis=0), task)
    ways = {(y, x): images[0][::y, ::x] for y in (1, -1) for x in (1, -1)}
    found = [way for image in out for way, wanted in ways.items() if (image == wanted).all()]
    assert len(found) == 64 and set(found) == set(ways)
    for (y, x), mask in zip(found, out_masks, strict=True):
        np.testing.assert_array_equal(mask, masks[0][::y, ::x])


def test_image_and_mask_move_together_and_masks_stay_binary():
    """On a coordinate image, the mask of a half plane must follow the image that shows it."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    image = np.stack([3 * x + 30, 4 * y + 30, np.full(SIZE, 255)], axis=-1).astype("float32")
    mask = np.stack([x >= 20, y >= 15, x + y >= 50], axis=-1).astype("uint8")
    task = replace(with_augmentation(), augmentation=STRONG, mirror_pairs=())
    images, masks = run(np.stack([image] * 16), np.stack([mask] * 16), task)
    assert set(np.unique(masks)) == {0, 1}
    column, row = (images[..., 0] - 30) / 3, (images[..., 1] - 30) / 4
    inside = images[..., 2] > 254.99  # elsewhere the border has come in
    outside = images[..., 2] == 0
    assert 0.5 < inside.mean() < 1 and outside.mean() > 0.01
    assert not masks[outside].any() and not images[outside].any()
    for i, distance in enumerate([column - 19.5, row - 14.5, column + row - 49.5]):
        clear = inside & (np.abs(distance) > 1)
        np.testing.assert_array_equal(masks[..., i][clear], distance[clear] > 0)


def test_rotation_scale_and_shift_reach_their_limits_and_no_further():
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype("float32")
    image = np.stack([x + 50, y + 50, x], axis=-1)

    def gradients(**changes):
        task = replace(with_augmentation(**changes), mirror_pairs=())
        images, _ = run(np.stack([image] * 64), np.zeros((64, *SIZE, 3), "uint8"), task)
        middle = images[:, 20:28, 28:36]
        dx, dy = (
            np.diff(middle[..., 0], axis=2).mean((1, 2)),
            np.diff(middle[..., 0], axis=1).mean((1, 2)),
        )
        return middle[:, 4, 4, 0] - image[24, 32, 0], dx, dy

    _, dx, dy = gradients(rotation=30)
    angles = np.degrees(np.arctan2(dy, dx))
    assert 25 < np.abs(angles).max() <= 30.5 and angles.min() < 0 < angles.max()
    _, dx, _ = gradients(scale=0.3)
    assert 1.2 < 1 / dx.min() <= 1.32 and 0.69 <= 1 / dx.max() < 0.8
    moved, _, _ = gradients(shift=0.1)
    assert 5 < np.abs(moved).max() <= 6.5
    moved, _, _ = gradients(shift=0.1, probability={"move": 0.25})
    assert 0.6 < (np.abs(moved) < 1e-3).mean() < 0.9


def test_brightness_and_contrast():
    images, masks, _ = phantoms("hip", 64, SIZE)
    images = images // 2 + 32  # keeps clear of clipping
    bright, _ = run(images, masks, with_augmentation(brightness=0.2))
    factor = bright.mean((1, 2, 3)) / images.mean((1, 2, 3))
    assert 0.79 < factor.min() < 0.85 and 1.15 < factor.max() < 1.21
    contrasted, _ = run(images, masks, with_augmentation(contrast=0.2))
    means = contrasted.mean((1, 2, 3)), images.mean((1, 2, 3))
    np.testing.assert_allclose(*means, rtol=5e-3)
    factor = contrasted.std((1, 2, 3)) / images.std((1, 2, 3))
    assert 0.79 < factor.min() < 0.85 and 1.15 < factor.max() < 1.21
    some, _ = run(images, masks, with_augmentation(brightness=0.2, probability={"colour": 0.5}))
    assert 0.3 < (some == images).all((1, 2, 3)).mean() < 0.7


class Fixed:
    """A generator whose draws are the upper limits."""

    def uniform(self, low, high):
        return high


def test_colour_shift_keeps_luminance_and_grey():
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 255, (8, 8, 3)).astype("float32")
    out = shift_colour(image, Augmentation(saturation=0.4, hue=0.08), Fixed())
    luminance = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(out @ luminance, image @ luminance, rtol=1e-3)
    assert np.abs(out - image).max() > 20
    grey = image[..., :1].repeat(3, axis=2)
    out = shift_colour(grey, Augmentation(saturation=0.4, hue=0.08), Fixed())
    np.testing.assert_allclose(out, grey, atol=0.5)
    full_turn = shift_colour(image, Augmentation(hue=1.0), Fixed())
    np.testing.assert_allclose(full_turn, image, atol=0.1)
    red = np.zeros((1, 1, 3), "uint8") + np.array([200, 100, 100], "uint8")
    turned = shift_colour(red, Augmentation(hue=1 / 3), Fixed())[0, 0]  # red becomes green or blue
    assert turned.argmax() != 0


def slices():
    images, _, _ = phantoms("prostate", 6, (64, 64))
    return images


def test_gamma_keeps_mean_and_deviation_and_bends_the_middle():
    image = slices()[4]
    bent = change_gamma(image, (2.0, 2.0), Fixed())
    np.testing.assert_allclose(bent.mean((0, 1)), image.mean((0, 1)), atol=1e-4)
    np.testing.assert_allclose(bent.std((0, 1)), image.std((0, 1)), rtol=1e-3)
    order = image[..., 0].ravel().argsort()
    assert (np.diff(bent[..., 0].ravel()[order]) >= -1e-5).all()  # monotone
    np.testing.assert_allclose(change_gamma(image, (1.0, 1.0), Fixed()), image, atol=1e-4)
    inverted = change_inverted_gamma(image, (2.0, 2.0), Fixed())
    np.testing.assert_allclose(inverted, -change_gamma(-image, (2.0, 2.0), Fixed()), atol=1e-5)
    assert np.abs(inverted - bent).max() > 0.1


def test_noise_has_the_standard_deviation_drawn():
    """As in batchgenerators 0.25 and batchgeneratorsv2 0.3, nnU-Net's: uniform from 0 to 0.1."""
    rng = np.random.default_rng(0)
    noises = [add_noise(np.zeros((64, 64, 2), "float32"), 0.1, rng).std() for _ in range(200)]
    assert 0 < min(noises) < 0.01 and 0.09 < max(noises) < 0.102
    assert abs(np.mean(noises) - 0.05) < 0.006  # three standard errors


def test_blur_and_low_resolution_take_detail_away_but_no_brightness():
    image = slices()[4]
    roughness = np.abs(np.diff(image, axis=0)).mean()
    for changed in (
        blur(image, (0.5, 1.0), Fixed()),
        lower_resolution(image, 0.5, np.random.default_rng(0)),
    ):
        assert changed.shape == image.shape
        assert np.abs(np.diff(changed, axis=0)).mean() < 0.9 * roughness
        np.testing.assert_allclose(changed.mean((0, 1)), image.mean((0, 1)), atol=0.05)


def test_the_prostate_recipe_makes_every_change_of_its_list():
    images, masks, _ = phantoms("prostate", 16, (64, 64))
    images, masks = images.repeat(20, axis=0), masks.repeat(20, axis=0)
    for name, share in prostate.augmentation.probability.items():
        if name in ("rotation", "scale"):
            continue
        only = {name: getattr(prostate.augmentation, name)}
        task = replace(prostate, augmentation=Augmentation(**only, probability={name: share}))
        out, out_masks = run(images, masks, task)
        assert out.dtype == np.float32 and np.isfinite(out).all()
        np.testing.assert_array_equal(out_masks, masks)
        assert share / 2 < (out != images).any(axis=(1, 2, 3)).mean() < share * 2


@pytest.mark.parametrize("name", TASKS)
def test_masks_stay_exactly_in_their_label_set_under_every_recipe(name):
    images, masks, _ = phantoms(name, 16, SIZE)
    out, out_masks = run(images, masks, TASKS[name], seed=5)
    assert out.dtype == images.dtype and out.shape == images.shape
    assert out_masks.dtype == np.uint8 and set(np.unique(out_masks)) <= {0, 1}


def test_equal_seeds_give_equal_batches():
    images, masks, _ = phantoms("hip", 4, SIZE)
    task = replace(hip, augmentation=replace(STRONG, brightness=0.2))
    first, again = (run(images, masks, task, 3) for _ in range(2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (run(images, masks, task, 5)[0] != first[0]).any()


def test_rotation_and_zoom_brightness_and_contrast_are_drawn_each_for_itself():
    """As nnU-Net: of 4000 images, 20 % are rotated, 20 % zoomed, 4 % both."""
    rng = np.random.default_rng(0)
    left = [leave_out(prostate.augmentation, rng) for _ in range(4000)]
    happened = np.array([[bool(getattr(a, name)) for name in ALONE] for a in left])
    np.testing.assert_allclose(happened.mean(axis=0), [0.2, 0.2, 0.15, 0.15], atol=0.02)
    for one, other, both in ((0, 1, 0.04), (2, 3, 0.0225), (0, 2, 0.03)):
        assert abs((happened[:, one] & happened[:, other]).mean() - both) < 0.01
    assert leave_out(hip.augmentation, rng) is hip.augmentation
    before = rng.bit_generator.state
    leave_out(hip.augmentation, rng)
    assert rng.bit_generator.state == before  # other tasks see the draws that they saw


def test_the_zoom_of_volumes_is_nnunets():
    rng = np.random.default_rng(0)
    seen = np.array([1 / draw_zoom((0.7, 1.4), rng) for _ in range(4000)])
    assert 0.7 <= seen.min() < 0.71 and 1.39 < seen.max() <= 1.4
    assert abs((seen < 1).mean() - 0.5) < 0.03
