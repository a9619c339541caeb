"""A trained model as files that run without this package."""

import keras
import numpy as np
from safetensors.numpy import save

from transfuse_keras.data.normalization import keeps_z_scores
from transfuse_keras.errors import InputError
from transfuse_keras.export.averaging import Averaged
from transfuse_keras.export.budgets import QUANTIZATIONS
from transfuse_keras.export.onnx_by_torch import write_onnx_by_torch
from transfuse_keras.export.resizing import resize_maps, resize_pixels
from transfuse_keras.export.web import write_page
from transfuse_keras.files import replacing, replacing_with_weights
from transfuse_keras.layers.upsampling import resizing_by
from transfuse_keras.runs.embedded import IN_REPOSITORY, SETTINGS
from transfuse_keras.weights import official_state
from transfuse_keras.weights.official import official_metadata

# the batch axis is not among the dims; requests that wait are put into one batch
TRITON = """\
backend: "onnxruntime"
max_batch_size: 8
input {{ name: "image" data_type: TYPE_FP32 dims: [ {} ] }}
output {{ name: "probabilities" data_type: TYPE_FP32 dims: [ {} ] }}
dynamic_batching {{ }}
"""


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


def export_saved_model(model, path):
    """Write the serving model as a SavedModel with a free batch dimension.

    Its signatures, both from `image` to `probabilities`: "serving_default" takes float32 images
    of the model's size, as of `serving_model`; "any_size", unless the model is of a task on
    volumes, uint8 RGB (B, h, w, C) of any size, which is resized as `predict` does, and gives
    float32 (B, h, w, M).
    """
    import tensorflow as tf

    serve, serving = serving_function(model)
    *size, channels = model.input_shape[1:]
    free = tf.TensorSpec((None, None, None, channels), "uint8", "image")

    @tf.function(input_signature=[free], autograph=False)
    def any_size(image):
        shape = tf.shape(image)[1:3]
        image = tf.round(resize(tf.cast(image, "float32"), size))
        return {"probabilities": resize(serve(image)["probabilities"], shape)}

    module = tf.Module()
    module.weights = [variable.value for variable in serving.variables]
    with builtin_resizing(), replacing(path) as temporary:
        # traced once for both signatures
        signatures = {"serving_default": serve.get_concrete_function()}
        if not keeps_z_scores(model.normalization):
            signatures["any_size"] = any_size.get_concrete_function()
        tf.saved_model.save(module, str(temporary), signatures)


def resize(images, size):
    """Images (B, h, w, C) to `size`, as data/resize.py: by area when they shrink, else bilinear."""
    import tensorflow as tf

    shrinks = tf.reduce_all(tf.shape(images)[1:3] >= size)
    return tf.cond(
        shrinks,
        lambda: tf.image.resize(images, size, "area"),
        lambda: tf.image.resize(images, size),
    )


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


def export_onnx(model, path):
    """Write the serving model as a float32 .onnx file with a free batch dimension.

    Its input is `image`, its output `probabilities`, the free axis of both `batch`. TensorFlow's
    graph is converted by tf2onnx; on the PyTorch backend PyTorch writes the file.

    Raises: InputError if a package that writes it is not installed.
    """
    if keras.backend.backend() == "torch":
        need("torch", "onnxscript", "onnxruntime")
        with replacing(path) as temporary:
            write_onnx_by_torch(serving_model(model), temporary)
        return
    need("onnx", "onnx", "tf2onnx")
    import onnx
    import tf2onnx

    serve, _ = serving_function(model)
    with builtin_resizing(), replacing(path) as temporary:
        graph, _ = tf2onnx.convert.from_function(serve, serve.input_signature)
        name_batch_axis(graph.graph)
        onnx.save(graph, temporary)


def export_triton(model, path):
    """Write a model repository of Triton with the model as ONNX, see `export_onnx`.

    Its config.pbtxt names no model, so the folder in it may be renamed.
    """
    with replacing(path) as folder:
        file = folder / IN_REPOSITORY
        file.parent.mkdir(parents=True)
        export_onnx(model, file)
        image, maps = model.input_shape[1:], (*model.input_shape[1:3], model.classes)
        config = TRITON.format(*(", ".join(map(str, shape)) for shape in (image, maps)))
        (file.parents[1] / "config.pbtxt").write_text(config, encoding="utf-8")


def name_batch_axis(graph):
    """Name the batch axis of an ONNX graph, for which tf2onnx has a number."""
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


def export_onnx_any_size(model, path):
    """Write a float32 .onnx file that takes images of any size and does all that `predict` does.

    Its input is `image`, uint8 RGB (batch, height, width, C). Its outputs are `probabilities`,
    float32, and `masks`, uint8 of 0/1, both (batch, height, width, M). The thresholds are 0.5 until
    `write_embedded` sets those of the task.

    Raises: InputError if onnx or tf2onnx is not installed, or for a model of a task on volumes.
    """
    need("onnx", "onnx", "tf2onnx")
    if keeps_z_scores(model.normalization):
        raise InputError("--format onnx-any-size: takes images, and this task is on volumes.")
    import onnx
    import tensorflow as tf
    import tf2onnx

    serving = serving_model(model)
    *size, channels = model.input_shape[1:]

    def predict(image, thresholds, exclusive):
        small = resize_pixels(image, size)
        small.set_shape((None, *size, channels))
        maps = resize_maps(serving(small, training=False), size, tf.shape(image)[1:3])
        maps.set_shape((None, None, None, model.classes))
        best = tf.argmax(maps, -1, "int32")[..., None] == tf.range(model.classes)
        masks = (maps >= thresholds) & (best | ~exclusive)
        outputs = {"probabilities": maps, "masks": tf.cast(masks, "uint8")}
        return {name: tf.identity(value, name) for name, value in outputs.items()}

    signature = [
        tf.TensorSpec((None, None, None, channels), "uint8", "image"),
        tf.TensorSpec((model.classes,), "float32", "thresholds"),
        tf.TensorSpec((), "bool", "exclusive"),
    ]
    with builtin_resizing(), replacing(path) as temporary:
        function = tf.function(predict, autograph=False)
        graph, _ = tf2onnx.convert.from_function(function, signature)
        defaults = np.full(model.classes, 0.5, "float32"), np.array(False)
        for name, value in zip(SETTINGS, defaults, strict=True):
            graph.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
        del graph.graph.input[1:]  # which these now are
        graph.graph.output.sort(key=lambda value: value.name, reverse=True)
        for value in (*graph.graph.input, *graph.graph.output):
            for axis, name in enumerate(("batch", "height", "width")):
                value.type.tensor_type.shape.dim[axis].dim_param = name
        onnx.save(graph, temporary)


def export_openvino(model, path, quantize="none"):
    """Write the serving model as OpenVINO's .xml and .bin with a free batch dimension.

    Args:
        model: TransFuse.
        path: of the .xml file.
        quantize: "none", or "float16" for weights of half the size.

    Raises: InputError if openvino is not installed.
    """
    need("openvino", "openvino")
    import openvino

    serve, _ = serving_function(model)
    with builtin_resizing():
        graph = openvino.convert_model(serve.get_concrete_function())
    with replacing_with_weights(path) as temporary:
        openvino.save_model(graph, temporary, compress_to_fp16=quantize == "float16")


def need(extra, *modules):
    """Raise InputError if a module of an optional part of the package is missing."""
    for module in modules:
        try:
            __import__(module)
        except ImportError as error:
            raise InputError(
                f"{module} is not installed: pip install 'transfuse-keras[{extra}]'."
            ) from error


def refuse_white_balance(model):
    """Raise InputError for a model with white balance, which the authors' code would leave out."""
    if model.white_balance:
        raise InputError(
            "--format pytorch: the model has white balance, which the authors' code has not; "
            "train with --recipe scratch-v1 for it."
        )


def export_pytorch(model, path):
    """Write the weights as .safetensors under the names, shapes and dtypes of the authors' code.

    A TransFuse-S or L-R50 of their input size (192x256, or 384x512 for their L_384) runs there
    as it is; position embeddings keep the model's own grid, which the file's metadata names.

    Raises: InputError for a model with white balance, which their code would leave out.
    """
    refuse_white_balance(model)
    with replacing(path) as temporary:
        temporary.write_bytes(save(official_state(model), official_metadata(model)))


FORMATS = {  # name -> (function of model and path, file, how it can be quantised)
    "saved_model": (export_saved_model, "saved_model", QUANTIZATIONS["saved_model"]),
    "litert": (export_litert, "model.tflite", QUANTIZATIONS["litert"]),
    "onnx": (export_onnx, "model.onnx", QUANTIZATIONS["onnx"]),
    "onnx-any-size": (
        *(export_onnx_any_size, "model-any-size.onnx", QUANTIZATIONS["onnx-any-size"]),
    ),
    "openvino": (export_openvino, "model.xml", QUANTIZATIONS["openvino"]),
    "web": (export_web, "web", QUANTIZATIONS["web"]),
    "triton": (export_triton, "triton", QUANTIZATIONS["triton"]),
    "pytorch": (export_pytorch, "model.safetensors", QUANTIZATIONS["pytorch"]),
}
