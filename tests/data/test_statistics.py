import cv2
import numpy as np
import pytest

import transfuse_keras as tk
from transfuse_keras.data.statistics import describe_unlike, find_statistic_ranges, measure_image


def test_an_image_that_is_half_black_and_half_white():
    image = np.zeros((128, 128, 3), "uint8")
    image[:, 64:] = (255, 255, 51)
    found = measure_image(image)
    assert found["mean of channel 1"] == 127.5 and found["mean of channel 3"] == 25.5
    assert found["standard deviation of channel 2"] == 127.5
    assert (found["1 % quantile of channel 3"], found["99 % quantile of channel 3"]) == (0, 51)
    assert found["channel 2 - channel 3"] == 102 and found["height / width"] == 1
    # differences of channels are 0 on the left, and 0 and 204 on the right
    assert found["colours, channel 1 - channel 2"] == 0
    assert found["colours, channel 2 - channel 3"] == pytest.approx(np.log10(102))
    # a mean over 3 pixels moves a third of the step into the column on each side of it
    step = np.sqrt(2 / 128) / 3 / 0.5
    assert found["texture of 3 pixels"] == pytest.approx(np.log10(step), abs=1e-4)


def test_an_image_of_one_colour_has_no_texture():
    assert measure_image(np.full((9, 9, 1), 7, "uint8"))["texture of 3 pixels"] == -2


def test_the_size_of_the_file_does_not_matter():
    small = tk.phantoms("skin", 1, (128, 128))[0][0]
    large = cv2.resize(small, (512, 512), interpolation=cv2.INTER_NEAREST)
    a, b = measure_image(small), measure_image(large)
    assert all(a[name] == pytest.approx(b[name], rel=1e-4) for name in a)


@pytest.fixture(scope="module")
def training():
    images = tk.phantoms("skin", 24, (64, 96), seed=0)[0]
    return images, find_statistic_ranges([measure_image(image) for image in images])


def test_no_image_of_the_training_is_unlike_it(training):
    images, ranges = training
    assert not [image for image in images if describe_unlike(measure_image(image), ranges)]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda x: x // 4, "mean of channel 1"),
        (lambda x: x[..., ::-1], "channel 1 - channel 2"),
        (lambda x: cv2.GaussianBlur(x, (0, 0), 12), "texture of 3 pixels"),
        (
            lambda x: np.random.default_rng(0).integers(0, 256, x.shape, "uint8"),
            "texture of 3 pixels",
        ),
        (lambda x: np.ascontiguousarray(x[:, :32]), "height / width"),
    ],
)
def test_another_kind_of_image_is_told_with_what_is_other(training, change, word):
    images, ranges = training
    phrases = describe_unlike(measure_image(change(images[0])), ranges)
    assert any(word in phrase for phrase in phrases)


def test_what_all_channels_of_a_grey_image_say_is_said_once():
    grey = np.repeat(tk.phantoms("hip", 1, (64, 64))[0][..., :1], 3, axis=-1)[0]
    ranges = find_statistic_ranges([measure_image(grey)])
    phrases = describe_unlike(measure_image(grey // 2), ranges)
    (mean,) = [phrase for phrase in phrases if phrase.startswith("mean of channel")]
    assert mean.startswith("mean of channel 1 and 2 and 3 is ")


def test_an_image_of_another_task_is_unlike(training):
    hips = tk.phantoms("hip", 4, (64, 96))[0]
    assert all(describe_unlike(measure_image(image), training[1]) for image in hips)


def test_a_volume_is_measured_as_a_whole():
    rng = np.random.default_rng(0)
    volume = rng.standard_normal((4, 128, 128, 2)).astype("float32")
    found = measure_image(volume)
    assert found["mean of channel 2"] == pytest.approx(volume[..., 1].mean(), abs=1e-6)
    assert "height / width" not in found
    ranges = find_statistic_ranges([found])
    assert not describe_unlike(found, ranges)
    assert describe_unlike(measure_image(volume + 1), ranges)
