"""One door to every CNN branch."""

from transfuse_keras.backbones.resnet import RESNETS, resnet

# name -> function of (name, input_shape, dropout)
CNNS = dict.fromkeys(RESNETS, resnet)


def create_cnn(name, input_shape=(224, 224, 3), dropout=0.0):
    """A CNN branch by name, randomly initialised.

    Args:
        name: a key of CNNS.
        input_shape: (H, W, C); H and W multiples of 16.
        dropout: rate of the channel-wise dropout after each stage.

    Returns: keras.Model from (B, H, W, C) to its maps at strides [4, 8, 16].

    Raises: ValueError for an unknown name.
    """
    if name not in CNNS:
        raise ValueError(f"Unknown CNN {name!r}; known are {', '.join(CNNS)}.")
    return CNNS[name](name, input_shape, dropout)
