import keras
import numpy as np
import pytest
from conftest import SMALLEST_UNET

from transfuse_keras.data.white_balance import balance_colours
from transfuse_keras.inference.predict import predict
from transfuse_keras.layers import WhiteBalance
from transfuse_keras.model.transfuse import TransFuse

COLOUR, MEAN, STD = (0.6, 0.5, 0.4), (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def balanced(images, **arguments):
    """What the layer makes of images (B, H, W, 3) in 0-1, in 0-1 again."""
    layer = WhiteBalance(COLOUR, MEAN, STD)
    return np.asarray(layer((images - MEAN) / STD, **arguments)) * STD + MEAN


def test_every_image_gets_the_same_mean_colour():
    images = np.random.default_rng(0).uniform(0.5, 1, (2, 8, 8, 3)) * [1.0, 0.7, 0.5]
    found = balanced(images)
    np.testing.assert_allclose(found.mean(axis=(1, 2)), [COLOUR, COLOUR], atol=1e-6)
    gains = found / images  # one for all pixels of a channel of an image
    np.testing.assert_allclose(gains, np.broadcast_to(gains[:, :1, :1], gains.shape), rtol=1e-4)


def test_another_light_changes_nothing_and_a_black_channel_stays_dark():
    images = np.random.default_rng(0).uniform(0.2, 1, (1, 8, 8, 3))
    np.testing.assert_allclose(balanced(images * [0.5, 0.9, 0.7]), balanced(images), atol=1e-6)
    np.testing.assert_allclose(balanced(np.full((1, 8, 8, 3), 0.002)), 0.02, atol=1e-6)


def test_dark_images_of_one_colour_stay_as_they_are():
    """As fluorescence: a mean of 0.01 in one channel and nothing in the others."""
    images = np.random.default_rng(0).uniform(0, 0.02, (1, 64, 64, 3)) * [0, 1, 0]
    layer = WhiteBalance(images.mean(axis=(0, 1, 2)), (0.0,) * 3, (1.0,) * 3)
    np.testing.assert_allclose(np.asarray(layer(images)), images, atol=1e-6)


def test_what_would_be_brighter_than_white_is_white():
    images = np.full((1, 4, 4, 3), 0.1)
    images[:, 0, 0] = 0.9
    np.testing.assert_allclose(balanced(images)[0, 0, 0], 1, atol=1e-6)


def test_in_training_the_images_are_balanced_before_the_layer_sees_them():
    images = np.random.default_rng(0).integers(20, 200, (3, 8, 8, 3)).astype("uint8")
    images[2] //= 50  # nearly black
    wanted = balanced(images / 255)
    np.testing.assert_allclose(balanced(images / 255, training=True), images / 255, atol=1e-6)
    balance_colours(images, COLOUR)
    np.testing.assert_allclose(images / 255, wanted, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_it_is_computed_in_float32(policy):
    layer = WhiteBalance(COLOUR, MEAN, STD, dtype=policy)
    found = layer(np.zeros((1, 2, 2, 3), "float32"))
    assert keras.backend.standardize_dtype(found.dtype) == "float32"


def test_a_model_sees_the_same_in_another_light(tmp_path):
    keras.utils.set_random_seed(0)
    model = TransFuse(SMALLEST_UNET, (32, 32, 3), white_balance=COLOUR)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    image = 2 * np.random.default_rng(0).integers(40, 128, (32, 32, 3)).astype("uint8")
    light = image // 2  # the same to the bit, half as bright
    np.testing.assert_allclose(predict(again, light), predict(model, image), atol=1e-5)
    assert again.resized((48, 32)).white_balance == COLOUR
    plain = TransFuse(SMALLEST_UNET, (32, 32, 3))
    assert plain.white_balance is None
    assert np.abs(predict(plain, light) - predict(plain, image)).max() > 1e-3


@pytest.mark.parametrize("colour", [(180, 150, 120), True, 0.5])
def test_a_colour_that_is_no_mean_of_an_image_is_refused(colour):
    with pytest.raises(ValueError, match="white_balance is a mean of image / 255"):
        TransFuse("U-Ti", (32, 32, 3), white_balance=colour)
