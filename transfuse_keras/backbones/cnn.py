"""Every CNN branch by its name."""

from collections.abc import Callable
from functools import partial

import keras

from transfuse_keras.backbones.efficientnet import efficientnet_lite0
from transfuse_keras.backbones.res2net import res2net_block
from transfuse_keras.backbones.resnet import basic_block, bottleneck, resnet
from transfuse_keras.backbones.resnetv2 import resnetv2
from transfuse_keras.backbones.vgg import vgg16

# timm's name -> function of (input_shape, dropout)
CNNS: dict[str, Callable[..., keras.Model]] = {
    "resnet18": partial(resnet, basic_block, (2, 2, 2)),
    "resnet34": partial(resnet, basic_block, (3, 4, 6)),
    "resnet50": partial(resnet, bottleneck, (3, 4, 6)),
    "res2net50_26w_4s": partial(resnet, res2net_block, (3, 4, 6)),
    "resnetv2_50x1_bit": resnetv2,
    "vgg16": vgg16,
    "tf_efficientnet_lite0": efficientnet_lite0,
}


def create_cnn(
    name: str,
    input_shape: tuple[int, int, int] = (224, 224, 3),
    dropout: float = 0.0,
    model_name: str = "cnn",
) -> keras.Model:
    """A CNN branch by name, randomly initialised.

    Args:
        name: a key of CNNS.
        input_shape: (H, W, C); H and W multiples of 16.
        dropout: rate of the channel-wise dropout after each stage.
        model_name: of the model.

    Returns: keras.Model from (B, H, W, C) to its maps at strides [4, 8, 16].

    Raises: ValueError for an unknown name.

    Example:
        >>> import transfuse_keras as tk
        >>> cnn = tk.create_cnn("resnet18", input_shape=(64, 64, 3))
        >>> [x.shape for x in cnn.outputs]
        [(None, 16, 16, 64), (None, 8, 8, 128), (None, 4, 4, 256)]
    """
    if name not in CNNS:
        raise ValueError(f"Unknown CNN {name!r}; known are {', '.join(CNNS)}.")
    cnn = CNNS[name](input_shape, dropout)
    return keras.Model(cnn.input, cnn.output, name=model_name)
