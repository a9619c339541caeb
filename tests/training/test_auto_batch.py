"""A batch is doubled as long as memory holds it and it pays, and measuring leaves no trace."""

import logging
import math

import keras
import numpy as np
import pytest

from transfuse_keras.cli import main
from transfuse_keras.runs.options import parse_settings
from transfuse_keras.training.auto_batch import choose_batch, grow


@pytest.mark.parametrize(
    ("most", "room", "seconds", "wanted", "why"),
    [
        # 100 bytes and 10 for each image, of which 64 take 740
        (1000, 740, lambda b: 1 + b / 100, 64, "GB"),
        (1000, 739, lambda b: 1 + b / 100, 32, "GB"),
        (63, 740, lambda b: 1 + b / 100, 32, "epoch"),
        (3, 740, lambda b: 1 + b / 100, 3, "epoch"),
        (1000, 740, lambda b: max(1, b / 8), 8, "images a second"),
    ],
)
def test_a_batch_grows_as_long_as_it_fits_and_pays(most, room, seconds, wanted, why):
    tried = []

    def measure(size):
        tried.append(size)
        return seconds(size), 100 + 10 * size

    size, reason = grow(measure, most, room)
    assert size == wanted and why in reason
    # twice the first is tried without a forecast; no other ever needs more than there is
    assert max(tried[2:], default=0) * 10 + 100 <= room


def test_it_is_told_what_it_does_not_go_with(capsys):
    command = ["train", "--task", "hip", "--auto-batch"]
    for words in (["--batch-size", "4"], ["--lr", "1"], ["--devices", "all"], ["--folds", "3"]):
        assert main([*command, *words]) == 2
        assert "--auto-batch" in capsys.readouterr().err


class Small(keras.Model):
    """As far as a TransFuse is needed: a map named "mask", masks as the target."""

    def train_on_batch(self, images, masks):
        return super().train_on_batch(images, {"mask": masks})


def test_the_chosen_batch_is_in_the_settings_and_the_model_is_as_before(caplog):
    caplog.set_level(logging.INFO)
    image = keras.Input((32, 32, 3))
    mask = keras.layers.Conv2D(3, 1)(keras.layers.BatchNormalization()(image))
    model = Small(image, {"mask": mask})
    model.compile("sgd", {"mask": "mse"})
    settings = parse_settings({"task": "hip", "auto_batch": True})
    before = [np.copy(keras.ops.convert_to_numpy(x)) for x in model.variables]
    found = choose_batch(model, settings, count=64).recipe
    assert model.optimizer.iterations > 0  # it was trained
    assert found.batch_size in (4, 8, 16)
    scale = math.sqrt(found.batch_size / settings.recipe.batch_size)
    assert found.learning_rate == pytest.approx(settings.recipe.learning_rate * scale)
    assert f"Batch {found.batch_size}, " in caplog.text
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), value)
