"""A .tflite file, for LiteRT on phones and small computers; a web page runs it, too."""

from transfuse_keras.data.normalization import keeps_z_scores
from transfuse_keras.errors import InputError
from transfuse_keras.export.serving import builtin_resizing, serving_function
from transfuse_keras.export.web import write_page
from transfuse_keras.files import replacing


def export_litert(model, path, quantize="none", calibration=None):
    """Write the serving model as a .tflite file for one image at a time.

    The batch is static: with a free one the converter leaves chains of shape computations that
    cut the graph into dozens of delegate partitions. Input and output are float32 always.

    Args:
        model: TransFuse.
        path: of the file.
        quantize: "none", "float16" (weights), "dynamic" (int8 weights, activations quantised as
            they come) or "int8" (activations of convolutions with fixed ranges).
        calibration: for "int8" images (N, H, W, C) as of `serving_model`, to find the ranges on.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(convert_to_litert(model, float16=quantize == "float16"))
        if quantize in ("dynamic", "int8"):
            from transfuse_keras.export.quantize import quantize_dynamic, quantize_int8

            if quantize == "dynamic":
                quantize_dynamic(temporary)
            else:
                quantize_int8(temporary, calibration)


def convert_to_litert(model, float16):
    """The bytes of a .tflite file of the serving model, its weights in float16 or float32.

    The traced graph is converted itself, not by way of a SavedModel, which takes longer.
    """
    import tensorflow as tf

    serve, serving = serving_function(model, batch=1)
    with builtin_resizing():
        function = serve.get_concrete_function()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], serving)
        converter.experimental_lower_to_saved_model = False
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if float16:
            converter.target_spec.supported_types = [tf.float16]
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        return sign(converter.convert())


def sign(content):
    """The bytes of a .tflite file with the signature that converting a graph leaves out:
    "serving_default", from `image` to `probabilities`, as that of a SavedModel."""
    from ai_edge_litert.schema_py_generated import SignatureDefT, TensorMapT
    from ai_edge_litert.tools import flatbuffer_utils

    file = flatbuffer_utils.read_model_from_bytearray(content)
    (graph,), signature, ends = file.subgraphs, SignatureDefT(), []
    for name, tensors in (("image", graph.inputs), ("probabilities", graph.outputs)):
        end = TensorMapT()
        end.name, (end.tensorIndex,) = name, tensors
        ends.append(end)
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0
    signature.inputs, signature.outputs = ends[:1], ends[1:]
    file.signatureDefs = [signature]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(file))


def export_web(model, path, quantize="none", calibration=None):
    """Write a folder of static files: a page that runs the model in a browser, see web.py.

    Args: as of `export_litert`, but for `path`, which is of the folder.

    Raises: InputError for a model of a task on volumes, or if LiteRT.js cannot be had.
    """
    if keeps_z_scores(model.normalization):
        raise InputError("--format web: a page reads pictures, and this task is on volumes.")
    with replacing(path) as folder:
        write_page(folder)
        export_litert(model, folder / "model.tflite", quantize, calibration)
