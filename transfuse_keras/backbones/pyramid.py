"""Any Keras CNN as the CNN branch (paper, CNN Branch: any off-the-shelf network can be applied)."""

import keras
from keras import layers

STRIDES = (4, 8, 16)
LEVELS = ("P2", "P3", "P4")  # keras-hub's names of these strides


def as_pyramid(model):
    """The part of a CNN up to its maps at strides 4, 8 and 16, as a plain functional model.

    Args:
        model: functional keras.Model, or a keras-hub backbone (by its `pyramid_outputs`).

    Returns: keras.Model that shares the layers of `model`.

    Raises: ValueError if it is not functional, takes more than one input or lacks a level.
    """
    outputs = getattr(model, "pyramid_outputs", None)
    if outputs is not None:
        missing = [level for level in LEVELS if level not in outputs]
        if missing:
            raise ValueError(f"cnn {model.name!r} has no level {missing[0]} in pyramid_outputs.")
        outputs = [outputs[level] for level in LEVELS]
    inputs = getattr(model, "inputs", None)
    if not inputs or len(inputs) != 1:
        raise ValueError("cnn must be a functional keras.Model with one input, the image.")
    return keras.Model(inputs[0], outputs or keras.tree.flatten(model.outputs), name=model.name)


def pyramid(model, input_shape, dropout=0.0):
    """The CNN branch made of `model`'s layers, for images of `input_shape`.

    Args:
        model: functional keras.Model with an output at each of the strides 4, 8 and 16.
        input_shape: (H, W, C); H and W multiples of 16.
        dropout: rate of the channel-wise dropout on each output. Unlike in our own CNNs, a
            dropped map does not feed the next stage.

    Returns: keras.Model from (B, H, W, C) to its maps at strides [4, 8, 16].

    Raises: ValueError if the model does not take such images or lacks one of these outputs.
    """
    image = keras.Input(input_shape)
    try:
        maps = keras.models.clone_model(
            model, input_tensors=image, clone_function=lambda layer: layer
        ).outputs
    except Exception as error:
        raise ValueError(
            f"cnn {model.name!r} does not take images of shape {tuple(input_shape)}: {error}"
        ) from error
    branch = []
    for stride in STRIDES:
        size = (input_shape[0] // stride, input_shape[1] // stride)
        fitting = [x for x in maps if len(x.shape) == 4 and tuple(x.shape[1:3]) == size]
        if len(fitting) != 1:
            shapes = ", ".join(str(tuple(x.shape[1:])) for x in maps)
            raise ValueError(
                f"cnn {model.name!r} needs one output at each of the strides 4, 8 and 16; for "
                f"images of {input_shape[0]}x{input_shape[1]} its outputs are {shapes}."
            )
        branch.append(layers.SpatialDropout2D(dropout, name=f"stride{stride}_drop")(fitting[0]))
    return keras.Model(image, branch, name="cnn")
