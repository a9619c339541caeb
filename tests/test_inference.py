import keras
import numpy as np
import pytest

from transfuse_keras.data.resize import fit, unfit
from transfuse_keras.inference import outline, overlay, predict, predict_volume, to_masks
from transfuse_keras.tasks import prostate


def test_predict_gives_probabilities_at_the_images_size(smallest):
    model = smallest(classes=2)
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype="uint8")
    mean, std = (np.array(values) for values in model.normalization)
    logits = model(((image / 255 - mean) / std)[None].astype("float32"))["mask"]
    wanted = np.asarray(keras.ops.sigmoid(logits))[0]
    np.testing.assert_allclose(predict(model, image), wanted, atol=1e-5)
    large = np.repeat(np.repeat(image, 3, axis=0), 3, axis=1)
    probabilities = predict(model, large)
    assert probabilities.shape == (96, 144, 2) and probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities[1::3, 1::3], wanted, atol=1e-4)
    with pytest.raises(ValueError, match=r"takes \(H, W, 3\) images"):
        predict(model, image[..., :2])


def test_a_volume_is_predicted_slice_by_slice_on_its_own_grid(smallest):
    model = smallest((32, 48, 2), classes=2, normalization=prostate.normalization)
    volume = np.random.default_rng(0).standard_normal((11, 50, 41, 2)).astype("float32")
    spacing, field = (3.0, 0.5, 0.7), (16.0, 24.0)
    maps = predict_volume(model, volume, spacing, field)
    assert maps.shape == (11, 50, 41, 2) and maps.dtype == np.float32
    for i in (0, 7, 8, 10):  # the model sees z-scored values as they are
        fitted = fit(volume[i], spacing[1:], field, (32, 48))
        found = np.asarray(keras.ops.sigmoid(model(fitted[None])["mask"]))[0]
        wanted = unfit(found, (50, 41), spacing[1:], field)
        np.testing.assert_allclose(maps[i], wanted, atol=1e-5)
    assert not maps[:, 0].any()  # 25 mm of rows, of which the field shows 16


def test_threshold_and_exclusive_classes():
    probabilities = np.array([[0.6, 0.7, 0.1], [0.5, 0.4, 0.3], [0.2, 0.4, 0.1]])
    np.testing.assert_array_equal(to_masks(probabilities), [[1, 1, 0], [1, 0, 0], [0, 0, 0]])
    exclusive = to_masks(probabilities, exclusive=True)
    np.testing.assert_array_equal(exclusive, [[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    assert to_masks(probabilities, threshold=0.65).sum() == 1


def test_overlay_colours():
    image = np.full((20, 20, 1), 100, "uint8")
    truth, mask = np.zeros((20, 20, 1), "uint8"), np.zeros((20, 20, 1), "uint8")
    truth[2:12, 2:12], mask[2:12, 2:16] = 1, 1
    picture = overlay(image, mask, truth)
    assert tuple(picture[5, 2]) == (255, 255, 255)  # the left borders coincide
    assert tuple(picture[5, 11]) == (0, 255, 0)  # the truth ends here
    assert tuple(picture[5, 15]) == (255, 0, 255)  # the prediction here
    assert tuple(picture[6, 6]) == tuple(picture[18, 18]) == (100, 100, 100)
    assert (image == 100).all()
    assert not (overlay(image, mask) == (0, 255, 0)).all(axis=-1).any()


def test_outline_of_a_square_is_its_frame():
    mask = np.zeros((9, 9), "uint8")
    mask[2:7, 2:7] = 1
    assert outline(mask).sum() == 16
