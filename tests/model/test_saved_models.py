"""Model files of earlier versions load and give what they gave then."""

import keras
import numpy as np
import pytest
from conftest import FIXTURES

import transfuse_keras as tk
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


def test_frozen_layers_stay_frozen_in_a_file(tmp_path):
    model = tk.TransFuse("Ti", (32, 32, 3))
    assert "frozen" not in model.get_config()
    model.cnn.trainable = False
    count = len(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert not loaded.cnn.trainable and loaded.vit.trainable
    again = tk.TransFuse.from_config(model.get_config()), model.resized((48, 48))
    assert {len(x.trainable_variables) for x in (loaded, *again)} == {count}


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_what_keras_quantised_stays_so_in_a_file(tmp_path, mode):
    model = tk.TransFuse("Ti", (32, 32, 3))
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    before = np.array(model(images)["mask"])
    np.testing.assert_allclose(model.mask_model.predict(images, verbose=0), before, atol=1e-5)
    model.quantize(mode)
    model.save(tmp_path / "model.keras")
    wanted = np.array(model(images)["mask"])
    assert np.abs(wanted - before).max() > 1e-3
    np.testing.assert_allclose(model.mask_model.predict(images, verbose=0), wanted, atol=1e-5)
    for loaded in (load_model(tmp_path / "model.keras"), model.resized((48, 48)).resized((32, 32))):
        np.testing.assert_allclose(loaded(images)["mask"], wanted, atol=1e-6)
