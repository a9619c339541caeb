"""What processes that share a training on TensorFlow or PyTorch tell each other: means of tensors.

Each computes an equal part of every batch, so the mean over processes of a mean over the part is
that over the batch. Every process has to ask for the same means in the same order.
"""

from contextlib import contextmanager
from functools import cache
from itertools import count

import keras
from keras import ops

from transfuse_keras.devices import processes
from transfuse_keras.errors import Failure


class ProcessLost(Failure):
    """Another process has ended, or does not answer."""


def mean_over_processes(tensor):
    """The mean of a floating tensor over all processes, with its gradient.

    The gradient in a process is that of the sum of what all of them compute from the mean.
    """
    torch = keras.backend.backend() == "torch"
    return (mean_of_torch() if torch else mean_of_tensorflow())(tensor)


@cache
def mean_of_torch():
    """PyTorch's own differentiable all-reduce is deprecated."""
    import torch

    class Mean(torch.autograd.Function):
        @staticmethod
        def forward(context, tensor):
            mean = tensor.detach().clone(memory_format=torch.contiguous_format)
            try:
                torch.distributed.all_reduce(mean)
            except RuntimeError as error:
                raise ProcessLost(str(error)) from error
            return mean / processes()[1]

        @staticmethod
        def backward(context, upstream):
            return Mean.apply(upstream)

    return Mean.apply


@cache
def mean_of_tensorflow():
    """An operation for each place in a graph: all processes trace the same ones in turn."""
    import tensorflow as tf

    group, numbers = 1000, count(1)  # of ours, which no strategy has

    def mean(tensor):
        total = tf.raw_ops.CollectiveReduceV2(
            input=tensor,
            group_size=processes()[1],
            group_key=group,
            instance_key=next(numbers),
            ordering_token=[],
            merge_op="Add",
            final_op="Id",
        )
        return total / processes()[1]

    return tf.custom_gradient(lambda tensor: (mean(tensor), mean))


def means_over_processes(tensors):
    """As `mean_over_processes` of each of a list, None among them, by one message."""
    found = [tensor for tensor in tensors if tensor is not None]
    flat = mean_over_processes(ops.concatenate([ops.reshape(x, (-1,)) for x in found]))
    parts = iter(split(flat, found))
    return [None if x is None else ops.reshape(next(parts), ops.shape(x)) for x in tensors]


def split(flat, tensors):
    """A vector in pieces as long as each of the tensors."""
    if keras.backend.backend() == "torch":
        return flat.split([tensor.numel() for tensor in tensors])
    import tensorflow as tf

    return tf.split(flat, tf.stack([tf.size(x) for x in tensors]), num=len(tensors))


@contextmanager
def averaged_over_processes(variables):
    """Within this context the values of Keras variables are their means over all processes."""
    own = [ops.copy(variable) for variable in variables]
    for variable, mean in zip(variables, means_over_processes(own), strict=True):
        variable.assign(mean)
    yield
    for variable, value in zip(variables, own, strict=True):
        variable.assign(value)
