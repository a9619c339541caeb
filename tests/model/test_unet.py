"""The baseline: a U-Net under the roof of TransFuse."""

import keras
import numpy as np
import pytest

import transfuse_keras as tk
from transfuse_keras.model.load import load_model


def parameters(model):
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


def test_it_is_the_graph_of_the_encoder_and_two_steps_of_a_decoder():
    """Counted by hand: ResNet-18 up to stride 16, two double convolutions, the head."""
    model = tk.UNet("resnet18", (32, 48, 3), classes=2, widths=(32, 16, 8))

    def double_conv(inputs, outputs):
        convolutions = 9 * inputs * outputs + 9 * outputs * outputs + inputs * outputs
        return convolutions + 3 * 3 * outputs  # a bias, a scale and an offset each

    head = 9 * 8 * 8 + 3 * 8 + 9 * 8 * 2 + 2
    decoder = double_conv(256 + 128, 16) + double_conv(16 + 64, 8) + head
    assert parameters(model) == parameters(model.cnn) + decoder
    assert list(model.output) == ["mask"] and model.output["mask"].shape == (None, 32, 48, 2)


def test_every_skip_connection_reaches_the_mask():
    model = tk.UNet("resnet18", (32, 48, 3), widths=(32, 16, 8))
    maps = keras.Model(model.input, model.cnn(model.input))
    image = np.random.default_rng(0).standard_normal((1, 32, 48, 3)).astype("float32")
    g2, g1, g0 = maps(image)
    decoder = [model.get_layer(name) for name in ("decoder_8", "decoder_4", "mask_head")]

    def decode(g2, g1, g0):
        return np.asarray(decoder[2](decoder[1](decoder[0](g0, g1), g2)))

    whole = decode(g2, g1, g0)
    np.testing.assert_allclose(whole, model(image)["mask"], atol=1e-5)
    for lost in range(3):
        some = [0 * x if i == lost else x for i, x in enumerate((g2, g1, g0))]
        assert np.abs(decode(*some) - whole).max() > 1e-3


@pytest.mark.slow
def test_it_trains_and_comes_back_from_its_file(tmp_path):
    keras.utils.set_random_seed(0)
    model = tk.TransFuse("U-Ti", (32, 32, 3))
    model.compile(keras.optimizers.Adam(1e-3))
    rng = np.random.default_rng(0)
    images = rng.standard_normal((4, 32, 32, 3)).astype("float32")
    masks = (images[..., :1] > 0).astype("float32")
    losses = model.fit(images, masks, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(images)["mask"], model(images)["mask"], atol=1e-5)
