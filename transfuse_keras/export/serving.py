"""The graph that is deployed, and the function of TensorFlow that its files are made of."""

import keras
import numpy as np

from transfuse_keras.errors import InputError
from transfuse_keras.export.averaging import Averaged
from transfuse_keras.layers.upsampling import resizing_by


def serving_model(model):
    """The graph that is deployed: `mask` only, with normalisation in front and a sigmoid behind.

    Args:
        model: TransFuse, or Averaged.

    Returns: keras.Model from float32 images (B, H, W, C) at the model's size, in 0-255, RGB (or
    z-scored, for a task on volumes), to probabilities (B, H, W, M).
    """
    image = keras.Input(model.input_shape[1:], name="image")
    if isinstance(model, Averaged):
        probabilities = model.connect(image, add_probabilities)
    else:
        probabilities = add_probabilities(
            model.mask_model, model.normalization, image, name="probabilities"
        )
    return keras.Model(image, probabilities, name="serving")


def add_probabilities(mask_model, normalization, image, name=None):
    """Probabilities of a symbolic image in 0-255, by a keras.Model from a normalised one."""
    mean, std = (255 * np.asarray(values, "float32") for values in normalization)
    return keras.layers.Activation("sigmoid", name=name)(mask_model((image - mean) / std))


def builtin_resizing():
    """Within this context graphs resize by TensorFlow's own operation.

    LiteRT, OpenVINO and ONNX have it as a builtin, several times as fast as matrix products; only
    its gradient is what training cannot use.
    """
    import tensorflow as tf

    return resizing_by(
        lambda x, size: tf.raw_ops.ResizeBilinear(images=x, size=size, align_corners=True)
    )


def serving_function(model, batch=None):
    """The serving model as a function of TensorFlow, of which the files of SavedModel, LiteRT, ONNX
    and OpenVINO are made.

    Not by Keras' own exports: they trace the graph several times, save all variables and read them
    back, or store every weight twice.

    Args:
        model: as of `serving_model`.
        batch: number of images, or None for any.

    Returns: tf.function from `image` to {"probabilities"}, and the serving model that it calls.

    Raises: InputError on another backend of Keras than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise InputError("TensorFlow writes this format; set KERAS_BACKEND=tensorflow.")
    import tensorflow as tf

    serving = serving_model(model)
    image = tf.TensorSpec((batch, *model.input_shape[1:]), "float32", "image")

    @tf.function(input_signature=[image], autograph=False)
    def serve(image):
        return {"probabilities": serving(image, training=False)}

    return serve, serving


def need(extra, *modules):
    """Raise InputError if a module of an optional part of the package is missing."""
    for module in modules:
        try:
            __import__(module)
        except ImportError as error:
            raise InputError(
                f"{module} is not installed: pip install 'transfuse-keras[{extra}]'."
            ) from error
