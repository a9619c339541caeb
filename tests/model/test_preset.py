"""Presets: Keras and keras-hub read them as we do, and nothing else is taken for one."""

import json

import keras
import numpy as np
import pytest

import transfuse_keras as tk
from transfuse_keras.errors import InputError
from transfuse_keras.model.preset import PRESET, load_preset, save_preset


@pytest.fixture(scope="module")
def preset(lively_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets") / "preset"
    lively_model.save_to_preset(folder)
    return folder


def outputs(model):
    images = np.random.default_rng(0).normal(size=(1, *model.input_shape[1:])).astype("float32")
    return keras.ops.convert_to_numpy(model(images)["mask"])


def load_by_keras_hub(folder):
    """A model of other weights that gets those of the preset by keras-hub, which builds none but
    its own backbones."""
    from keras_hub.src.utils.preset_utils import get_preset_loader

    loader = get_preset_loader(str(folder))
    assert loader.check_backbone_class() is tk.TransFuse
    model = tk.TransFuse.from_config(loader.config["config"])
    loader._load_backbone_weights(model)
    return model


@pytest.mark.slow
@pytest.mark.parametrize(
    "load", [tk.TransFuse.from_preset, keras.saving.load_model, load_by_keras_hub]
)
def test_a_preset_is_read_back_with_the_same_outputs(load, preset, lively_model):
    assert sorted(x.name for x in preset.iterdir()) == sorted(PRESET)
    wanted = outputs(lively_model)
    assert wanted.std() > 0.1
    np.testing.assert_array_equal(outputs(load(preset)), wanted)


@pytest.mark.slow
def test_a_u_net_becomes_a_preset_without_its_optimiser_and_replaces_the_former(tmp_path):
    model = tk.UNet("resnet18", (32, 32, 3), classes=2, widths=(16, 8, 8))
    model.save_to_preset(tmp_path / "u-net")
    before = (tmp_path / "u-net" / "model.weights.h5").stat().st_size
    model.compile()
    model.save_to_preset(tmp_path / "u-net")
    assert (tmp_path / "u-net" / "model.weights.h5").stat().st_size == before
    again = tk.TransFuse.from_preset(tmp_path / "u-net")
    assert not again.compiled and set(again.output) == {"mask"}
    np.testing.assert_array_equal(outputs(again), outputs(model))


@pytest.mark.slow
def test_half_of_the_weights_is_refused(preset):
    weights = preset / "model.weights.h5"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="preset: damaged"):
        tk.TransFuse.from_preset(preset)
    weights.write_bytes(whole)


def test_a_folder_with_anything_else_is_not_replaced(tmp_path):
    (tmp_path / "thesis.docx").write_text("years of work")
    with pytest.raises(InputError, match="thesis.docx"):
        save_preset(None, tmp_path)
    assert [x.name for x in tmp_path.iterdir()] == ["thesis.docx"]


def test_what_is_no_preset_of_a_transfuse_is_refused(tmp_path):
    for content, word in (
        (None, "config.json"),
        ({"registered_name": "Functional", "class_name": "Functional"}, "Functional"),
        ({"registered_name": "transfuse_keras>TransFuse", "config": {"weights": "x"}}, "weights"),
    ):
        (tmp_path / "model.weights.h5").touch()
        if content:
            (tmp_path / "config.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match=f"{tmp_path.name}: .*{word}"):
            load_preset(tmp_path)
