"""LiteRT files with int8 weights (ai-edge-quantizer)."""

import contextlib
import io
import logging

import numpy as np
from ai_edge_quantizer.qtyping import TFLOperationName as Op
from ai_edge_quantizer.quantizer import Quantizer
from ai_edge_quantizer.recipe_manager import RecipeManager

# Between the convolutions of a ResNet: with these its whole graph is int8. The names of the sums
# of a residual block leave those of a normalisation out.
BETWEEN = (
    ("/cnn_.*_add_", Op.ADD),
    ("/cnn_", Op.MAX_POOL_2D),
    ("/cnn_", Op.PAD),
    ("/cnn_", Op.CONCATENATION),
)
EIGHT_BITS = {"activation_num_bits": 8, "weight_num_bits": 8}


def quantize_dynamic(path):
    """Give convolutions and dense layers int8 weights, a scale for each output channel.

    Their inputs are quantised as they come; everything else stays float32.

    Args:
        path: of a float32 .tflite file, which is replaced.
    """
    recipe = RecipeManager()
    for operation in (Op.CONV_2D, Op.FULLY_CONNECTED):
        recipe.add_dynamic_config(".*", operation, num_bits=8)
    path.write_bytes(quantized(path, recipe))


def quantize_int8(path, images):
    """As `quantize_dynamic`, but with fixed ranges for all convolutions and what lies between
    those of the CNN.

    The transformer's activations differ too much between tokens for one range: its dense layers
    stay dynamic, attention, LayerNorms and gates float32.

    Args:
        path: of a float32 .tflite file, which is replaced.
        images: (N, H, W, C) float32, on which the smallest and largest activations are found.
    """
    recipe = RecipeManager()
    recipe.add_dynamic_config(".*", Op.FULLY_CONNECTED, num_bits=8)
    for names, operation in ((".*", Op.CONV_2D), *BETWEEN):
        recipe.add_static_config(names, operation, **EIGHT_BITS)
    path.write_bytes(quantized(path, recipe, images))


def quantized(path, recipe, images=None):
    """The content of a .tflite file by a recipe of the quantizer, bytes."""
    with quiet():
        quantizer = Quantizer(path.read_bytes(), recipe.get_quantization_recipe())
        ranges = None if images is None else find_widest_ranges(quantizer, images)
        return bytes(quantizer.quantize(ranges).quantized_model)


def find_widest_ranges(quantizer, images):
    """The ranges that hold every activation of every image, as the quantizer takes them.

    Its own average over images cuts the largest off, which moved outlines by several pixels.
    """
    found = [
        quantizer.calibrate({"serving_default": [{"image": image[None].astype("float32")}]})
        for image in images
    ]
    return {
        name: {
            **value,
            "min": np.min([each[name]["min"] for each in found], axis=0),
            "max": np.max([each[name]["max"] for each in found], axis=0),
        }
        for name, value in found[0].items()
    }


@contextlib.contextmanager
def quiet():
    """Without the progress bars and log lines of the quantizer."""
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
