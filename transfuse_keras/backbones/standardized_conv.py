"""Weight standardisation (Qiao et al. 2019, arXiv 1903.10520), as BiT's convolutions have it."""

import keras
from keras import layers, ops

EPSILON = 1e-8


@keras.saving.register_keras_serializable("transfuse_keras")
class StandardizedConv2D(layers.Conv2D):
    """A Conv2D whose kernel has mean 0 and variance 1 for every output channel.

    The stored kernel is standardised, in float32, each time the layer is called. Arguments and
    call are those of keras.layers.Conv2D.
    """

    def convolution_op(self, inputs, kernel):
        mean, variance = ops.moments(ops.cast(kernel, "float32"), (0, 1, 2), keepdims=True)
        standardized = (ops.cast(kernel, "float32") - mean) * ops.rsqrt(variance + EPSILON)
        return super().convolution_op(inputs, ops.cast(standardized, kernel.dtype))
