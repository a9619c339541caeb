from dataclasses import replace

import numpy as np
import tensorflow as tf

from transfuse_keras.data.augmentation import augment, shift_colour
from transfuse_keras.data.phantoms import phantoms
from transfuse_keras.tasks import Augmentation, hip

SIZE = (48, 64)
STRONG = Augmentation(rotation=30, scale=0.3, shift=0.1, flip_horizontal=True, flip_vertical=True)


def with_augmentation(**changes):
    return replace(hip, augmentation=Augmentation(**changes))


def run(images, masks, task, seed=(0, 1)):
    images, masks = augment(tf.constant(images), tf.constant(masks), task, tf.constant(seed))
    return images.numpy(), masks.numpy()


def test_nothing_asked_changes_nothing():
    images, masks, _ = phantoms("hip", 3, SIZE)
    out, out_masks = run(images, masks, with_augmentation())
    np.testing.assert_allclose(out, images, atol=0.01)
    np.testing.assert_array_equal(out_masks, masks)


def test_a_horizontal_flip_swaps_left_and_right_femur():
    images, masks, _ = phantoms("hip", 32, SIZE)
    out, out_masks = run(images, masks, with_augmentation(flip_horizontal=True))
    flipped = np.array([np.abs(a - b).max() > 1 for a, b in zip(out, images, strict=True)])
    assert 0 < flipped.sum() < 32
    np.testing.assert_allclose(out[flipped], images[flipped][:, :, ::-1], atol=0.01)
    pelvis, left, right = np.moveaxis(masks[flipped][:, :, ::-1], -1, 0)
    np.testing.assert_array_equal(out_masks[flipped], np.stack([pelvis, right, left], axis=-1))
    np.testing.assert_array_equal(out_masks[~flipped], masks[~flipped])
    # what the model must learn stays true: the left femur is on the image's right
    columns = np.arange(SIZE[1])
    for mask in out_masks:
        left, right = (np.average(columns, weights=mask[..., i].sum(axis=0)) for i in (1, 2))
        assert left > right


def test_a_vertical_flip_swaps_nothing():
    images, masks, _ = phantoms("hip", 16, SIZE)
    _, out_masks = run(images, masks, with_augmentation(flip_vertical=True))
    flipped = (out_masks != masks).any(axis=(1, 2, 3))
    assert 0 < flipped.sum() < 16
    np.testing.assert_array_equal(out_masks[flipped], masks[flipped][:, ::-1])


def test_image_and_mask_move_together_and_masks_stay_binary():
    """On a coordinate image, the mask of a half plane must follow the image that shows it."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    image = np.stack([3 * x + 30, 4 * y + 30, np.full(SIZE, 255)], axis=-1).astype("float32")
    mask = np.stack([x >= 20, y >= 15, x + y >= 50], axis=-1).astype("uint8")
    task = replace(with_augmentation(), augmentation=STRONG, mirror_pairs=())
    images, masks = run(np.stack([image] * 16), np.stack([mask] * 16), task)
    assert set(np.unique(masks)) == {0, 1}
    column, row = (images[..., 0] - 30) / 3, (images[..., 1] - 30) / 4
    inside = images[..., 2] == 255  # elsewhere the border has come in
    assert 0.5 < inside.mean() < 1
    assert not masks[~inside & (images[..., 2] == 0)].any()
    for i, distance in enumerate([column - 19.5, row - 14.5, column + row - 49.5]):
        clear = inside & (np.abs(distance) > 1)
        np.testing.assert_array_equal(masks[..., i][clear], distance[clear] > 0)


def test_rotation_scale_and_shift_reach_their_limits_and_no_further():
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype("float32")
    image = np.stack([x + 50, y + 50, x], axis=-1)

    def gradients(**changes):
        images, _ = run(np.stack([image] * 64), np.zeros((64, *SIZE, 3), "uint8"), task(**changes))
        middle = images[:, 20:28, 28:36]
        dx, dy = (
            np.diff(middle[..., 0], axis=2).mean((1, 2)),
            np.diff(middle[..., 0], axis=1).mean((1, 2)),
        )
        return middle[:, 4, 4, 0] - image[24, 32, 0], dx, dy

    def task(**changes):
        return replace(with_augmentation(**changes), mirror_pairs=())

    _, dx, dy = gradients(rotation=30)
    angles = np.degrees(np.arctan2(dy, dx))
    assert 25 < np.abs(angles).max() <= 30.1 and angles.min() < 0 < angles.max()
    _, dx, _ = gradients(scale=0.3)
    assert 1.2 < 1 / dx.min() <= 1.31 and 0.69 <= 1 / dx.max() < 0.8
    moved, _, _ = gradients(shift=0.1)
    assert 5 < np.abs(moved).max() <= 6.5
    moved, _, _ = gradients(shift=0.1, probability=0.25)
    assert 0.6 < (np.abs(moved) < 1e-3).mean() < 0.9


def test_brightness_and_contrast():
    images, masks, _ = phantoms("hip", 64, SIZE)
    images = (images // 2 + 32).astype("float32")  # keeps clear of clipping
    bright, _ = run(images, masks, with_augmentation(brightness=0.2))
    factor = bright.mean((1, 2, 3)) / images.mean((1, 2, 3))
    assert 0.79 < factor.min() < 0.85 and 1.15 < factor.max() < 1.21
    contrasted, _ = run(images, masks, with_augmentation(contrast=0.2))
    np.testing.assert_allclose(contrasted.mean((1, 2, 3)), images.mean((1, 2, 3)), rtol=1e-3)
    factor = contrasted.std((1, 2, 3)) / images.std((1, 2, 3))
    assert 0.79 < factor.min() < 0.85 and 1.15 < factor.max() < 1.21


def test_colour_shift_keeps_luminance_and_grey():
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (4, 8, 8, 3)).astype("float32")
    images[0] = images[0, ..., :1]
    out = shift_colour(tf.constant(images), tf.fill([4], 1.4), tf.fill([4], 0.5)).numpy()
    luminance = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(out @ luminance, images @ luminance, rtol=1e-3)
    np.testing.assert_allclose(out[0], images[0], atol=0.5)
    assert np.abs(out[1:] - images[1:]).max() > 20
    full_turn = shift_colour(tf.constant(images), tf.fill([4], 1.0), tf.fill([4], 2 * np.pi))
    np.testing.assert_allclose(full_turn, images, atol=0.1)


def test_equal_seeds_give_equal_batches():
    images, masks, _ = phantoms("hip", 4, SIZE)
    task = replace(hip, augmentation=replace(STRONG, brightness=0.2))
    first, again = (run(images, masks, task, (3, 4)) for _ in range(2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert np.abs(run(images, masks, task, (3, 5))[0] - first[0]).max() > 1
