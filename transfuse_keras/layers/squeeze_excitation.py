"""Squeeze-and-Excitation (SE) channel attention (paper, eq. 2: ChannelAttn; Hu et al. 2018)."""

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("transfuse_keras")
class SqueezeExcitation(layers.Layer):
    """Weigh every channel by a gate computed from the means of all channels.

    Args:
        reduction: the hidden layer has C / reduction units.

    Call: (B, H, W, C) -> (B, H, W, C), each channel times a factor in (0, 1).
    """

    def __init__(self, reduction, **kwargs):
        super().__init__(**kwargs)
        self.reduction = reduction

    def build(self, input_shape):
        channels = input_shape[-1]
        squeezed = (input_shape[0], 1, 1, channels)
        hidden = channels // self.reduction
        self.fc1 = layers.Conv2D(hidden, 1, kernel_initializer="he_normal", name="fc1")
        self.fc2 = layers.Conv2D(channels, 1, kernel_initializer="he_normal", name="fc2")
        self.fc1.build(squeezed)
        self.fc2.build((*squeezed[:3], hidden))

    def compute_output_shape(self, input_shape):
        return input_shape

    def call(self, x):
        gate = ops.mean(x, axis=(1, 2), keepdims=True)
        gate = ops.sigmoid(self.fc2(ops.relu(self.fc1(gate))))
        return x * gate
