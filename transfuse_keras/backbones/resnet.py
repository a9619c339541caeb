"""ResNet without its last stage: the CNN branch (paper, CNN Branch; He et al. 2016).

Layers carry the names of torchvision's modules with "." as "_", so that weights map by name.
"""

import keras
from keras import layers

from transfuse_keras.layers.conv import batch_norm

# blocks in the stages at strides 4, 8 and 16; the stage at stride 32 is dropped
RESNETS = {
    "resnet18": {"block": "basic", "depths": (2, 2, 2)},
    "resnet34": {"block": "basic", "depths": (3, 4, 6)},
    "resnet50": {"block": "bottleneck", "depths": (3, 4, 6)},
}
WIDTHS = (64, 128, 256)


def conv_bn(x, filters, kernel_size, stride, conv, bn):
    """Convolution padded as PyTorch pads it: equally on both sides, whatever the stride."""
    if stride > 1 and kernel_size > 1:
        x = layers.ZeroPadding2D(kernel_size // 2, name=f"{conv}_pad")(x)
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


def residual_block(x, block, width, stride, name):
    """Two 3x3 convolutions (basic) or 1x1, 3x3, 1x1 (bottleneck), added to the identity."""
    if block == "basic":
        convolutions = [(width, 3, stride), (width, 3, 1)]
    else:
        convolutions = [(width, 1, 1), (width, 3, stride), (4 * width, 1, 1)]
    filters = convolutions[-1][0]
    shortcut = x
    if stride > 1 or x.shape[-1] != filters:
        shortcut = conv_bn(x, filters, 1, stride, f"{name}_downsample_0", f"{name}_downsample_1")
    for i, (channels, kernel_size, conv_stride) in enumerate(convolutions, 1):
        if i > 1:
            x = layers.ReLU(name=f"{name}_relu{i - 1}")(x)
        x = conv_bn(x, channels, kernel_size, conv_stride, f"{name}_conv{i}", f"{name}_bn{i}")
    return layers.ReLU(name=name)(layers.Add(name=f"{name}_add")([shortcut, x]))


def resnet(name, input_shape, dropout=0.0):
    """ResNet-18, -34 or -50 up to stride 16 as a functional model.

    Args:
        name: a key of RESNETS.
        input_shape: (H, W, C); H and W multiples of 16.
        dropout: rate of the channel-wise dropout after each stage. A dropped map is an output
            and feeds the next stage too.

    Returns: keras.Model from (B, H, W, C) to the maps [g2, g1, g0] at strides 4, 8 and 16.
    """
    block, depths = RESNETS[name]["block"], RESNETS[name]["depths"]
    image = keras.Input(input_shape)
    x = layers.ReLU(name="relu")(conv_bn(image, 64, 7, 2, "conv1", "bn1"))
    # After a ReLU, zeros pad a maximum as well as PyTorch's minus infinity does.
    x = layers.MaxPooling2D(3, 2, name="maxpool")(layers.ZeroPadding2D(1, name="maxpool_pad")(x))
    outputs = []
    for stage, (depth, width) in enumerate(zip(depths, WIDTHS, strict=True), 1):
        for i in range(depth):
            stride = 2 if stage > 1 and i == 0 else 1
            x = residual_block(x, block, width, stride, f"layer{stage}_{i}")
        x = layers.SpatialDropout2D(dropout, name=f"layer{stage}_drop")(x)
        outputs.append(x)
    return keras.Model(image, outputs, name="cnn")
