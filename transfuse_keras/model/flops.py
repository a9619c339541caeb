"""How many floating-point operations a model takes."""

import math
import re

import tensorflow as tf

from transfuse_keras.errors import InputError

# what may hide multiplications that `count_flops` would not see
UNSEEN = re.compile("Conv[0-9]|MatMul|Einsum|While$|If$")


def count_flops(model):
    """Floating-point operations of one image: 2 for each multiplication with its addition.

    Convolutions and matrix products are counted from the shapes in the TensorFlow graph, padding
    included; what works on single elements is not.

    Args:
        model: keras.Model of one input and one output with a static shape but for the batch;
            `mask_model` of a TransFuse is what inference runs.

    Returns: int.

    Raises: InputError for an operation that may multiply matrices and is not known here.
    """
    image = tf.TensorSpec((1, *model.input_shape[1:]), model.input_dtype)
    function = tf.function(lambda x: model(x, training=False)).get_concrete_function(image)
    operations = list(count_operations(function.graph))
    unknown = {op.type for op in operations if UNSEEN.search(op.type)} - set(COUNTS)
    if unknown:
        names = ", ".join(sorted(unknown))
        raise InputError(f"{model.name}: has operations that cannot be counted ({names}).")
    return sum(2 * COUNTS[op.type](op) for op in operations if op.type in COUNTS)


def count_operations(graph):
    """Operations of a graph and of the functions it calls: Keras wraps grouped convolutions."""
    for op in graph.get_operations():
        if op.type.endswith("PartitionedCall"):
            yield from count_operations(graph._get_function(op.get_attr("f").name).graph)
        else:
            yield op


def convolution(op):
    """Multiplications: each output takes a kernel's height x width x channels (of its group)."""
    return size(op.outputs[0]) * math.prod(op.inputs[1].shape[:3])


def depthwise(op):
    return size(op.outputs[0]) * math.prod(op.inputs[1].shape[:2])


def transposed(op):
    """Each input is spread over a kernel's height x width x outputs."""
    return size(op.inputs[2]) * math.prod(op.inputs[1].shape[:3])


def product(op):
    """Each output is a sum over the columns of the first matrix, rows if that is transposed."""
    flag = "transpose_a" if op.type == "MatMul" else "adj_x"
    return size(op.outputs[0]) * op.inputs[0].shape[-2 if op.get_attr(flag) else -1]


def einsum(op):
    """One multiplication for each combination of all indices."""
    equation = op.get_attr("equation").decode()
    if "..." in equation:
        raise InputError(f"An einsum of {equation} cannot be counted.")
    sizes = {}
    for term, tensor in zip(equation.split("->")[0].split(","), op.inputs, strict=True):
        sizes |= dict(zip(term, tensor.shape, strict=True))
    return math.prod(sizes.values())


def size(tensor):
    return math.prod(tensor.shape)


COUNTS = {
    "Conv2D": convolution,
    "DepthwiseConv2dNative": depthwise,
    "Conv2DBackpropInput": transposed,
    "MatMul": product,
    "BatchMatMulV2": product,
    "Einsum": einsum,
}
