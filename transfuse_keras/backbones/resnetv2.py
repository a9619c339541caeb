"""ResNetV2 as in Big Transfer (BiT, Kolesnikov et al. 2020): the CNN of the paper's TransFuse-L*.

Pre-activation blocks with GroupNorm and weight-standardised convolutions, so nothing depends on
the batch. Layers carry timm's names with "." as "_".
"""

import keras
from keras import layers, ops

from transfuse_keras.backbones.resnet import WIDTHS, pad

DEPTHS = (3, 4, 6)  # ResNetV2-50 without the stage at stride 32
GROUPS = 32
EPSILON = 1e-8  # of the standardised kernels


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


def standardized_conv(x, filters, kernel_size, stride, name):
    """Weight-standardised convolution, padded as PyTorch pads it."""
    if kernel_size > 1:
        x = pad(x, kernel_size, name)
    init = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    return StandardizedConv2D(
        filters, kernel_size, strides=stride, use_bias=False, kernel_initializer=init, name=name
    )(x)


def norm_relu(x, name):
    x = layers.GroupNormalization(GROUPS, epsilon=1e-5, name=name)(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def preactivation_bottleneck(x, width, stride, name):
    """norm, 1x1, norm, 3x3, norm, 1x1, added to the input; where shapes differ, to a
    projection of the normalised input."""
    y = norm_relu(x, f"{name}_norm1")
    if stride > 1 or x.shape[-1] != 4 * width:
        x = standardized_conv(y, 4 * width, 1, stride, f"{name}_downsample_conv")
    y = standardized_conv(y, width, 1, 1, f"{name}_conv1")
    y = standardized_conv(norm_relu(y, f"{name}_norm2"), width, 3, stride, f"{name}_conv2")
    y = standardized_conv(norm_relu(y, f"{name}_norm3"), 4 * width, 1, 1, f"{name}_conv3")
    return layers.Add(name=name)([x, y])


def resnetv2(input_shape, dropout=0.0):
    """ResNetV2-50 up to stride 16 as a functional model.

    Args:
        input_shape: (H, W, C); H and W multiples of 16.
        dropout: rate of the channel-wise dropout after each stage. A dropped map is an output
            and feeds the next stage too.

    Returns: keras.Model from (B, H, W, C) to the maps [g2, g1, g0] at strides 4, 8 and 16: the
    sums that the stages end with, before the next normalisation.
    """
    image = keras.Input(input_shape)
    x = standardized_conv(image, 64, 7, 2, "stem_conv")
    # BiT's own pooling takes the padded zeros as values, before any ReLU
    x = layers.MaxPooling2D(3, 2, name="stem_pool")(pad(x, 3, "stem_pool"))
    outputs = []
    for stage, (depth, width) in enumerate(zip(DEPTHS, WIDTHS, strict=True)):
        for i in range(depth):
            stride = 2 if stage > 0 and i == 0 else 1
            x = preactivation_bottleneck(x, width, stride, f"stages_{stage}_blocks_{i}")
        x = layers.SpatialDropout2D(dropout, name=f"stages_{stage}_drop")(x)
        outputs.append(x)
    return keras.Model(image, outputs, name="cnn")
