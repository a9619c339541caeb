"""Convolution, batch normalisation, activation: the unit that every block is made of."""

import keras
from keras import layers

from transfuse_keras.devices import has_replicas
from transfuse_keras.layers.block import Block
from transfuse_keras.layers.normalization import BatchNormalization

EPSILON, MOMENTUM = 1e-5, 0.9  # PyTorch's defaults (its momentum 0.1 is our 1 - 0.9)


def batch_norm(name, epsilon=EPSILON):
    """BatchNormalization with the constants of the authors' code."""
    # on PyTorch Keras knows no such argument, and BatchNormalization sees to it by itself
    synchronized = keras.backend.backend() == "tensorflow" and has_replicas()
    return BatchNormalization(
        momentum=MOMENTUM, epsilon=epsilon, name=name, synchronized=synchronized
    )


@keras.saving.register_keras_serializable("transfuse_keras")
class ConvBN(Block):
    """Stride-1 convolution with batch normalisation.

    Args:
        filters: number of output channels.
        kernel_size: side of the square kernel; odd, padded to keep height and width.
        activation: name of a Keras activation applied last, or None.
        use_bias: whether the convolution has a bias. The authors keep it in front of the
            normalisation everywhere but in the spatial attention.

    Call: (B, H, W, C) -> (B, H, W, filters), in the layer's compute dtype.
    """

    def __init__(self, filters, kernel_size, activation=None, use_bias=True, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(
            filters,
            kernel_size,
            padding="same",
            use_bias=use_bias,
            kernel_initializer="he_normal",
            name="conv",
        )
        self.bn = batch_norm("bn")
        self.activation = keras.activations.get(activation)

    def call(self, x):
        return self.activation(self.bn(self.conv(x)))
