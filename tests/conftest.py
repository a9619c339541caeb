"""Shared by all tests: quiet TensorFlow, the smallest model that has every block."""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import pytest

from transfuse_keras.transfuse import TransFuse
from transfuse_keras.variants import Variant

FIXTURES = Path(__file__).parent / "fixtures"
SMALLEST = Variant("resnet18", "deit_tiny_patch16_224", 1, (16, 8, 8))


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture
def smallest():
    """A function that builds the smallest TransFuse; keyword arguments as in the class."""

    def build(input_shape=(32, 48, 3), classes=1, **arguments):
        return TransFuse(SMALLEST, input_shape, classes, **arguments)

    return build
