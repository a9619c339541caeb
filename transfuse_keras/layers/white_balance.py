"""The same mean colour for every image, whatever lamp and camera made it."""

import keras
from keras import layers, ops

MOST_GAIN = 10.0  # times: a black image is not made bright


@keras.saving.register_keras_serializable("transfuse_keras")
class WhiteBalance(layers.Layer):
    """Multiply each channel of each image so that it has a given mean.

    This is the grey world rule (Buchsbaum 1980), with a colour in place of grey. A light of
    another colour multiplies the channels, and that is undone; contrast stays in proportion. It is
    computed in float32 in any precision.

    In training images stay as they are: `balance_colours` does the same before they are augmented.
    After it, the layer would undo the changes of colour that training is to learn from, and
    brighten an image for the black that a shift brings in.

    Args:
        colour: the mean of image / 255 that every image gets, one value per channel.
        mean, std: of image / 255, one value per channel, with which the images are normalised.

    Call: (B, H, W, C), (image / 255 - mean) / std -> the same of the balanced image; what would be
    brighter than white is white.

    Example:
        >>> import numpy as np
        >>> from transfuse_keras.layers import WhiteBalance
        >>> layer = WhiteBalance(colour=(0.5,), mean=(0.0,), std=(1.0,))
        >>> np.asarray(layer(np.array([0.1, 0.3]).reshape(1, 1, 2, 1))).ravel().tolist()
        [0.25, 0.75]
    """

    def __init__(self, colour, mean, std, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.colour, self.mean, self.std = tuple(colour), tuple(mean), tuple(std)

    def call(self, x, training=None):
        if training:
            return x
        colour, mean, std = (
            ops.convert_to_tensor(values, "float32")
            for values in (self.colour, self.mean, self.std)
        )
        shades = x * std + mean
        found = ops.mean(shades, axis=(1, 2), keepdims=True)
        gain = ops.minimum(colour / ops.maximum(found, 1e-6), MOST_GAIN)
        balanced = shades * gain
        return (ops.minimum(balanced, 1.0) - mean) / std

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        own = {"colour": self.colour, "mean": self.mean, "std": self.std}
        return {**super().get_config(), **own}
