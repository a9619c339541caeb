"""Model files of earlier versions load and give what they gave then."""

import keras
import numpy as np
import pytest
from conftest import FIXTURES

from transfuse_keras.model.load import load_model


@pytest.mark.parametrize("name", ["saved_2026-11"])
def test_a_model_saved_by_an_earlier_version(name):
    """The outputs were written by the version that saved the file, at every fourth pixel."""
    model = load_model(FIXTURES / f"{name}.keras")
    images = np.random.default_rng(1).normal(size=(2, 32, 48, 3)).astype("float32")
    outputs, wanted = model(images), np.load(FIXTURES / f"{name}.npz")
    assert set(outputs) == set(wanted)
    for head, logits in outputs.items():
        found = keras.ops.convert_to_numpy(logits)[:, ::4, ::4]
        assert wanted[head].std() > 0.1
        np.testing.assert_allclose(found, wanted[head], atol=1e-4 * np.abs(wanted[head]).max())
