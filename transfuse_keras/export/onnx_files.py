"""ONNX files, and a model repository of Triton, which runs one."""

import keras
import numpy as np

from transfuse_keras.data.normalization import keeps_z_scores
from transfuse_keras.errors import InputError
from transfuse_keras.export.onnx_by_torch import write_onnx_by_torch
from transfuse_keras.export.resizing import resize_maps, resize_pixels
from transfuse_keras.export.serving import builtin_resizing, need, serving_function, serving_model
from transfuse_keras.files import replacing
from transfuse_keras.runs.embedded import IN_REPOSITORY, SETTINGS

# the batch axis is not among the dims; requests that wait are put into one batch
TRITON = """\
backend: "onnxruntime"
max_batch_size: 8
input {{ name: "image" data_type: TYPE_FP32 dims: [ {} ] }}
output {{ name: "probabilities" data_type: TYPE_FP32 dims: [ {} ] }}
dynamic_batching {{ }}
"""


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
