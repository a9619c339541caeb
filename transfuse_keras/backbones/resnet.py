"""ResNet without its last stage: the CNN branch (paper, CNN Branch; He et al. 2016).

Layers carry the names of torchvision's modules with "." as "_", so that weights map by name.
"""

import keras
from keras import layers

from transfuse_keras.layers.conv import batch_norm

WIDTHS = (64, 128, 256)  # of the stages at strides 4, 8 and 16


def pad(x, kernel_size, name):
    """Zeros on both sides, as PyTorch pads; Keras' "same" pads one side when the stride is 2."""
    return layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)


def conv_bn(x, filters, kernel_size, stride, conv, bn):
    """Convolution without bias and batch normalisation, under these two names."""
    if stride > 1 and kernel_size > 1:
        x = pad(x, kernel_size, conv)
    x = layers.Conv2D(
        filters,
        kernel_size,
        strides=stride,
        padding="same" if stride == 1 else "valid",
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        name=conv,
    )(x)
    return batch_norm(bn)(x)


def add_shortcut(shortcut, x, stride, name):
    """relu(shortcut + x), the shortcut projected by a 1x1 convolution where shapes differ."""
    if shortcut.shape != x.shape:
        names = f"{name}_downsample_0", f"{name}_downsample_1"
        shortcut = conv_bn(shortcut, x.shape[-1], 1, stride, *names)
    return layers.ReLU(name=name)(layers.Add(name=f"{name}_add")([shortcut, x]))


def basic_block(x, width, stride, name):
    """Two 3x3 convolutions: ResNet-18 and -34."""
    y = conv_bn(x, width, 3, stride, f"{name}_conv1", f"{name}_bn1")
    y = layers.ReLU(name=f"{name}_relu1")(y)
    y = conv_bn(y, width, 3, 1, f"{name}_conv2", f"{name}_bn2")
    return add_shortcut(x, y, stride, name)


def bottleneck(x, width, stride, name):
    """Convolutions 1x1, 3x3, 1x1 with four times the width at the end: ResNet-50."""
    y = conv_bn(x, width, 1, 1, f"{name}_conv1", f"{name}_bn1")
    y = layers.ReLU(name=f"{name}_relu1")(y)
    y = conv_bn(y, width, 3, stride, f"{name}_conv2", f"{name}_bn2")
    y = layers.ReLU(name=f"{name}_relu2")(y)
    y = conv_bn(y, 4 * width, 1, 1, f"{name}_conv3", f"{name}_bn3")
    return add_shortcut(x, y, stride, name)


def resnet(block, depths, input_shape, dropout=0.0):
    """A ResNet up to stride 16 as a functional model.

    Args:
        block: function of (x, width, stride, name): basic_block, bottleneck or res2net's.
        depths: number of blocks in the stages at strides 4, 8 and 16.
        input_shape: (H, W, C); H and W multiples of 16.
        dropout: rate of the channel-wise dropout after each stage. A dropped map is an output
            and feeds the next stage too.

    Returns: keras.Model from (B, H, W, C) to the maps [g2, g1, g0] at strides 4, 8 and 16.
    """
    image = keras.Input(input_shape)
    x = layers.ReLU(name="relu")(conv_bn(image, 64, 7, 2, "conv1", "bn1"))
    # After a ReLU, zeros pad a maximum as well as PyTorch's minus infinity does.
    x = layers.MaxPooling2D(3, 2, name="maxpool")(pad(x, 3, "maxpool"))
    outputs = []
    for stage, (depth, width) in enumerate(zip(depths, WIDTHS, strict=True), 1):
        for i in range(depth):
            x = block(x, width, 2 if stage > 1 and i == 0 else 1, f"layer{stage}_{i}")
        x = layers.SpatialDropout2D(dropout, name=f"layer{stage}_drop")(x)
        outputs.append(x)
    return keras.Model(image, outputs, name="cnn")
