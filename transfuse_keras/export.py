"""A trained model as files that run without this package."""

import keras
import numpy as np
import tensorflow as tf
from safetensors.numpy import save

from transfuse_keras.files import replacing
from transfuse_keras.weights import official_state


def serving_model(model):
    """The graph that is deployed: `mask` only, with normalisation in front and a sigmoid behind.

    Args:
        model: TransFuse.

    Returns: keras.Model from float32 images (B, H, W, C) at the model's size, in 0-255, RGB (or
    z-scored, for a task on volumes), to probabilities (B, H, W, M).
    """
    mean, std = (255 * np.asarray(values) for values in model.normalization)
    image = keras.Input(model.input_shape[1:], name="image")
    x = keras.layers.Normalization(mean=mean, variance=std**2)(image)
    probabilities = keras.layers.Activation("sigmoid", name="probabilities")(model.mask_model(x))
    return keras.Model(image, probabilities, name="serving")


def export_saved_model(model, path):
    """Write the serving model as a SavedModel with a free batch dimension."""
    with replacing(path) as temporary:
        serving_model(model).export(temporary, format="tf_saved_model", verbose=False)


def export_litert(model, path):
    """Write the serving model as a float32 .tflite file for one image at a time.

    The batch is static: with a free one the converter leaves chains of shape computations that
    cut the graph into dozens of delegate partitions.
    """
    signature = [keras.InputSpec(shape=(1, *model.input_shape[1:]), dtype="float32")]
    with replacing(path) as temporary:
        serving_model(model).export(
            temporary, format="litert", input_signature=signature, verbose=False
        )


def export_pytorch(model, path):
    """Write the weights as .safetensors under the names, shapes and dtypes of the authors' code.

    A TransFuse-S or L-R50 of their input size (192x256, or 384x512 for their L_384) runs there
    as it is; position embeddings keep the model's own grid.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(save(official_state(model)))


# format -> (function of model and path, name of the file or folder)
FORMATS = {
    "saved_model": (export_saved_model, "saved_model"),
    "litert": (export_litert, "model.tflite"),
    "pytorch": (export_pytorch, "model.safetensors"),
}


def run_saved_model(path):
    """A function from images (B, H, W, C), float32 0-255, to probabilities, by a SavedModel."""
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    return lambda images: next(iter(serve(tf.constant(images)).values())).numpy()


def run_litert(path):
    """A function from images (1, H, W, C), float32 0-255, to probabilities, by a .tflite file."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    (image,), (probabilities,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(images):
        interpreter.set_tensor(image["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(probabilities["index"])

    return run


def compare_exports(model, runners, images):
    """How far exported files are from the Keras model.

    Args:
        model: TransFuse.
        runners: name -> function from images (1, H, W, C), float32 0-255, to probabilities.
        images: list of (H, W, C) of the model's size, 0-255 or z-scored, to compare on.

    Returns: {name: {"largest_difference": of the probabilities, "different_pixels": share of
    mask pixels at threshold 0.5 that are not the same}}.
    """
    images = [image.astype("float32")[None] for image in images]
    reference = serving_model(model)
    wanted = [np.asarray(reference(image)) for image in images]
    report = {}
    for name, run in runners.items():
        found = [run(image) for image in images]
        pairs = list(zip(found, wanted, strict=True))
        report[name] = {
            "largest_difference": float(max(np.abs(a - b).max() for a, b in pairs)),
            "different_pixels": float(np.mean([(a >= 0.5) != (b >= 0.5) for a, b in pairs])),
        }
    return report
