"""Res2Net (Gao et al. 2019, arXiv 1904.01169): the CNN of the paper's TransFuse-L.

A ResNet whose 3x3 convolution is split into `SCALE` groups of channels, each group seeing the
result of the one before it.
"""

from keras import layers, ops

from transfuse_keras.backbones.resnet import add_shortcut, conv_bn, pad

SCALE, BASE_WIDTH = 4, 26  # "26w 4s"


def res2net_block(x, width, stride, name):
    """1x1, grouped 3x3 and 1x1 convolutions, added to the identity.

    The first block of a stage changes the shape: there the groups do not add up, and the last
    one is averaged over 3x3 windows (padded zeros counted, as in PyTorch) instead of passed on.
    """
    group_width = width * BASE_WIDTH // 64
    first = stride > 1 or x.shape[-1] != 4 * width
    y = conv_bn(x, SCALE * group_width, 1, 1, f"{name}_conv1", f"{name}_bn1")
    *groups, last = ops.split(layers.ReLU(name=f"{name}_relu1")(y), SCALE, axis=-1)
    done = []
    for i, group in enumerate(groups):
        if done and not first:
            group = layers.Add(name=f"{name}_sum_{i}")([group, done[-1]])
        y = conv_bn(group, group_width, 3, stride, f"{name}_convs_{i}", f"{name}_bns_{i}")
        done.append(layers.ReLU(name=f"{name}_relus_{i}")(y))
    if first:
        pool = layers.AveragePooling2D(3, stride, name=f"{name}_pool")
        last = pool(pad(last, 3, f"{name}_pool"))
    y = layers.Concatenate(name=f"{name}_cat")([*done, last])
    y = conv_bn(y, 4 * width, 1, 1, f"{name}_conv3", f"{name}_bn3")
    return add_shortcut(x, y, stride, name)
