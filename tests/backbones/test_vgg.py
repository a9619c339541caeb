import keras
import numpy as np

from transfuse_keras.backbones import create_cnn


def test_the_maps_are_those_of_keras_applications_with_the_same_weights():
    theirs = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 48, 3))
    ours = create_cnn("vgg16", (32, 48, 3))
    kernels = [layer for layer in theirs.layers if isinstance(layer, keras.layers.Conv2D)]
    convolutions = [layer for layer in ours.layers if isinstance(layer, keras.layers.Conv2D)]
    for a, b in zip(convolutions, kernels, strict=True):
        a.set_weights(b.get_weights())
    names = ("block3_conv3", "block4_conv3", "block5_conv3")  # at strides 4, 8 and 16
    wanted = keras.Model(theirs.input, [theirs.get_layer(name).output for name in names])
    images = np.random.default_rng(0).standard_normal((2, 32, 48, 3)).astype("float32")
    for a, b in zip(ours(images), wanted(images), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
