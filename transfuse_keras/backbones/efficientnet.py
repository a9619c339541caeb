"""EfficientNet-Lite0 up to stride 16 (Tan, Le 2019; Google 2020), made for int8 and phones: no
squeeze-excitation, ReLU6 in place of swish.

Layers carry the names of timm's modules with "." as "_", so that weights map by name.
"""

import keras
from keras import layers

from transfuse_keras.layers.conv import batch_norm

# blocks, kernel size, stride and channels of the stages 1 to 4; those at stride 32 are left out
STAGES = ((2, 3, 2, 24), (2, 5, 2, 40), (3, 3, 2, 80), (3, 5, 1, 112))
OUTPUTS = (1, 2, 4)  # the last stages at strides 4, 8 and 16
STEM_WIDTH, FIRST_WIDTH = 32, 16  # channels of the stem and of stage 0
EXPANSION = 6
EPSILON = 1e-3  # of the normalisation that the weights were trained with


def initializer():
    """A new one for each layer: Keras' draw the same numbers each time they are called."""
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def conv_bn(x, filters, kernel_size, stride, conv, bn):
    """Convolution without bias and batch normalisation, padded as TensorFlow pads ("same")."""
    x = layers.Conv2D(
        filters,
        kernel_size,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer=initializer(),
        name=conv,
    )(x)
    return batch_norm(bn, EPSILON)(x)


def depthwise_bn(x, kernel_size, stride, conv, bn):
    """Depthwise convolution, batch normalisation, ReLU6."""
    x = layers.DepthwiseConv2D(
        kernel_size,
        strides=stride,
        padding="same",
        use_bias=False,
        depthwise_initializer=initializer(),
        name=conv,
    )(x)
    return relu6(batch_norm(bn, EPSILON)(x), bn)


def relu6(x, name):
    return layers.ReLU(6.0, name=f"{name}_relu6")(x)


def inverted_residual(x, filters, kernel_size, stride, name):
    """Expansion by 1x1, depthwise convolution, linear projection; added where shapes are equal."""
    y = conv_bn(x, EXPANSION * x.shape[-1], 1, 1, f"{name}_conv_pw", f"{name}_bn1")
    y = relu6(y, f"{name}_bn1")
    y = depthwise_bn(y, kernel_size, stride, f"{name}_conv_dw", f"{name}_bn2")
    y = conv_bn(y, filters, 1, 1, f"{name}_conv_pwl", f"{name}_bn3")
    return layers.Add(name=f"{name}_add")([x, y]) if x.shape == y.shape else y


def efficientnet_lite0(input_shape, dropout=0.0):
    """EfficientNet-Lite0 up to stride 16 as a functional model.

    Args:
        input_shape: (H, W, C); H and W multiples of 16.
        dropout: rate of the channel-wise dropout on the three outputs. A dropped map is an output
            and feeds the next stage too.

    Returns: keras.Model from (B, H, W, C) to its maps at strides [4, 8, 16], which have 24, 40 and
    112 channels: the linear projections that the stages end with.
    """
    image = keras.Input(input_shape)
    x = relu6(conv_bn(image, STEM_WIDTH, 3, 2, "conv_stem", "bn1"), "bn1")
    x = depthwise_bn(x, 3, 1, "blocks_0_0_conv_dw", "blocks_0_0_bn1")
    x = conv_bn(x, FIRST_WIDTH, 1, 1, "blocks_0_0_conv_pw", "blocks_0_0_bn2")
    outputs = []
    for stage, (depth, kernel_size, stride, filters) in enumerate(STAGES, 1):
        for i in range(depth):
            name = f"blocks_{stage}_{i}"
            x = inverted_residual(x, filters, kernel_size, stride if i == 0 else 1, name)
        if stage in OUTPUTS:
            x = layers.SpatialDropout2D(dropout, name=f"blocks_{stage}_drop")(x)
            outputs.append(x)
    return keras.Model(image, outputs, name="cnn")
