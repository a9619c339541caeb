"""What the processes of a training on PyTorch tell each other: means of tensors over all of them.

Each computes an equal part of every batch, so the mean over processes of a mean over the part is
that over the batch. Every process has to ask for the same means in the same order.
"""

from contextlib import contextmanager
from functools import cache

from transfuse_keras.devices import processes
from transfuse_keras.errors import Failure


class ProcessLost(Failure):
    """Another process has ended, or does not answer."""


def mean_over_processes(tensor):
    """The mean of a floating tensor of PyTorch over all processes, with its gradient.

    The gradient in a process is that of the sum of what all of them compute from the mean.
    """
    return tensor if processes()[1] == 1 else mean_function().apply(tensor)


@cache
def mean_function():
    """A torch.autograd.Function; PyTorch's own differentiable all-reduce is deprecated."""
    import torch

    class Mean(torch.autograd.Function):
        @staticmethod
        def forward(context, tensor):
            mean = tensor.detach().clone(memory_format=torch.contiguous_format)
            try:
                torch.distributed.all_reduce(mean)
            except RuntimeError as error:
                raise ProcessLost(str(error)) from error
            return mean / torch.distributed.get_world_size()

        @staticmethod
        def backward(context, upstream):
            return Mean.apply(upstream)

    return Mean


def means_over_processes(tensors):
    """As `mean_over_processes` of each of a list, None among them, by one message."""
    import torch

    found = [tensor for tensor in tensors if tensor is not None]
    flat = mean_over_processes(torch.cat([tensor.reshape(-1) for tensor in found]))
    parts = iter(flat.split([tensor.numel() for tensor in found]))
    return [None if x is None else next(parts).view(x.shape) for x in tensors]


@contextmanager
def averaged_over_processes(variables):
    """Within this context the values of Keras variables are their means over all processes."""
    import torch

    with torch.no_grad():
        own = [variable.value.clone() for variable in variables]
        for variable, mean in zip(variables, means_over_processes(own), strict=True):
            variable.assign(mean)
        yield
        for variable, value in zip(variables, own, strict=True):
            variable.assign(value)
