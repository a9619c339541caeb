"""Any Keras CNN as the CNN branch."""

import keras
import numpy as np
import pytest
from conftest import SMALLEST

from transfuse_keras.model.transfuse import TransFuse
from transfuse_keras.model.variants import Variant

SHAPE = (32, 48, 3)


def mobilenet(*names):
    """keras.applications' MobileNetV2 with the outputs of these layers."""
    model = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=SHAPE, alpha=0.35
    )
    return keras.Model(model.input, [model.get_layer(name).output for name in names])


def applications_model():
    return mobilenet("block_3_expand_relu", "block_6_expand_relu", "block_13_expand_relu")


def hub_backbone():
    keras_hub = pytest.importorskip("keras_hub")
    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64, 64, 64],
        stackwise_num_blocks=[1, 1, 1, 1],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        image_shape=(None, None, 3),
    )


@pytest.mark.slow
@pytest.mark.parametrize("create", [applications_model, hub_backbone])
def test_trains_saves_and_resizes(create, tmp_path):
    backbone = create()
    rng = np.random.default_rng(0)
    images = rng.standard_normal((2, *SHAPE)).astype("float32")
    masks = (rng.random((2, *SHAPE[:2], 1)) > 0.5).astype("float32")
    model = TransFuse(SMALLEST, SHAPE, cnn=backbone)
    kernel = backbone.trainable_variables[0]
    before = np.array(kernel)
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    model.fit(images, masks, verbose=0)
    assert np.abs(np.array(kernel) - before).max() > 0  # its own variables, not a copy

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    wanted = model.predict(images, verbose=0)["mask"]
    np.testing.assert_allclose(loaded.predict(images, verbose=0)["mask"], wanted, atol=1e-6)

    # the maps of the branch are those of the CNN itself, finest first
    theirs = backbone.pyramid_outputs if hasattr(backbone, "pyramid_outputs") else None
    features = keras.Model(backbone.input, theirs) if theirs else backbone
    wanted = keras.tree.flatten(features(images, training=False))
    for ours, their_map in zip(model.cnn(images, training=False), wanted, strict=False):
        np.testing.assert_allclose(ours, their_map, atol=1e-6)
    larger = model.resized((64, 48))
    assert {id(v) for v in larger.weights} == {id(v) for v in model.weights}
    assert larger(np.zeros((1, 64, 48, 3)))["mask"].shape == (1, 64, 48, 1)


def test_a_variant_may_hold_the_cnn():
    variant = Variant(applications_model(), "deit_tiny_patch16_224", 1, (16, 8, 8))
    model = TransFuse(variant, SHAPE)
    assert [x.shape[1:3] for x in model.cnn.outputs] == [(8, 12), (4, 6), (2, 3)]
    assert model.normalization[0] == (0.485, 0.456, 0.406)


def test_unusable_cnns_are_named():
    with pytest.raises(ValueError, match="strides 4, 8 and 16"):
        TransFuse(SMALLEST, SHAPE, cnn=mobilenet("block_3_expand_relu", "block_6_expand_relu"))
    with pytest.raises(ValueError, match="shape .32, 48, 1."):
        TransFuse(SMALLEST, (32, 48, 1), cnn=applications_model())

    class Subclassed(keras.Model):
        pass

    with pytest.raises(ValueError, match="functional keras.Model"):
        TransFuse(SMALLEST, SHAPE, cnn=Subclassed())
