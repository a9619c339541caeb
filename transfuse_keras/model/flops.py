"""How many floating-point operations a model takes, whatever the backend."""

import math
from contextlib import ExitStack
from unittest.mock import patch

import keras

from transfuse_keras.errors import InputError

# what multiplies matrices in Keras' backends; what is not in COUNTS cannot be counted
OF_LAYERS = ("conv", "depthwise_conv", "separable_conv", "conv_transpose", "dot_product_attention")
OF_ARRAYS = ("matmul", "einsum", "dot", "tensordot", "vdot", "inner", "outer")


def count_flops(model):
    """Floating-point operations of one image: 2 for each multiplication with its addition.

    The model is called on symbolic tensors, and every convolution and matrix product of
    `keras.ops` in it is counted from its shapes, padding included. What works on single elements
    is not counted.

    Args:
        model: keras.Model of one input and one output with a static shape but for the batch;
            `mask_model` of a TransFuse is what inference runs.

    Returns: int.

    Raises: InputError for an operation that may multiply matrices and is not known here.

    Example:
        >>> image = keras.Input((8, 6, 4))
        >>> model = keras.Model(image, keras.layers.Conv2D(5, 3, padding="same")(image))
        >>> count_flops(model) == 2 * (8 * 6 * 5) * (3 * 3 * 4)
        True
    """
    found, unknown, depth = [], [], 0

    def counted(name, operation):
        def call(*arguments, **keywords):
            nonlocal depth
            depth += 1
            try:
                result = operation(*arguments, **keywords)
            finally:
                depth -= 1
            if depth == 0:  # an operation may be made of others
                count = COUNTS.get(name, lambda *_, **__: None)(result, *arguments, **keywords)
                found.append(count or 0)
                unknown.extend([name] if count is None else [])
            return result

        return call

    backend = keras.src.backend
    with ExitStack() as stack:
        for module, names in ((backend.nn, OF_LAYERS), (backend.numpy, OF_ARRAYS)):
            for name in names:
                wrapped = counted(name, getattr(module, name))
                stack.enter_context(patch.object(module, name, wrapped))
        image = keras.KerasTensor((1, *model.input_shape[1:]), model.input_dtype)
        backend.compute_output_spec(lambda x: model(x, training=False), image)
    if unknown:
        names = ", ".join(sorted(set(unknown)))
        raise InputError(f"{model.name}: has operations that cannot be counted ({names}).")
    return 2 * sum(found)


def convolution(result, inputs, kernel, *_, **__):
    """Multiplications: each output takes a kernel's height x width x channels (of its group)."""
    if len(kernel.shape) != 4:
        return None
    return math.prod(result.shape) * math.prod(kernel.shape[:3])


def depthwise(result, inputs, kernel, *_, **__):
    return math.prod(result.shape) * math.prod(kernel.shape[:2])


def separable(result, inputs, kernel, pointwise, *_, **__):
    per_channel = math.prod(result.shape[:-1]) * math.prod(kernel.shape[:2])
    return per_channel * pointwise.shape[2] + math.prod(result.shape) * pointwise.shape[2]


def transposed(result, inputs, kernel, *_, **__):
    """Each input is spread over a kernel's height x width x outputs."""
    return math.prod(inputs.shape) * math.prod(kernel.shape[:3])


def product(result, first, *_, **__):
    """Each output is a sum over the columns of the first matrix."""
    return math.prod(result.shape) * first.shape[-1]


def attention(result, query, key, value, *_, **__):
    """The products query x key and weights x value, for every head: (B, T, heads, channels)."""
    batch, queries, heads, channels = query.shape
    return batch * heads * queries * key.shape[1] * (channels + value.shape[-1])


def einsum(result, equation, *operands, **__):
    """One multiplication for each combination of all indices."""
    if "..." in equation:
        return None
    sizes = {}
    terms = equation.replace(" ", "").split("->")[0].split(",")
    for term, tensor in zip(terms, operands, strict=True):
        sizes |= dict(zip(term, tensor.shape, strict=True))
    return math.prod(sizes.values())


COUNTS = {
    "conv": convolution,
    "depthwise_conv": depthwise,
    "separable_conv": separable,
    "conv_transpose": transposed,
    "dot_product_attention": attention,
    "matmul": product,
    "einsum": einsum,
}
