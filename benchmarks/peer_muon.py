"""The steps of Muon for modules of PyTorch and for Keras' models on it."""

import torch
from peer_models import KerasModel
from torch import nn

from transfuse_keras.training.muon import RMS, Muon, is_matrix, orthogonalize


class TorchMuon(torch.optim.Optimizer):
    """Muon of parameters that are kernels, with the constants of ours.

    `as_matrix`: {parameter: function of a tensor of its shape to a matrix}.
    """

    def __init__(self, as_matrix, rate, kernel_rate):
        super().__init__(list(as_matrix), {"lr": rate})
        self.as_matrix, self.kernel_rate = as_matrix, kernel_rate
        self.momentum = Muon().momentum

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                mean = self.state[weight].setdefault("mean", torch.zeros_like(weight))
                mean.mul_(self.momentum).add_(weight.grad)
                matrix = self.as_matrix[weight](weight.grad + self.momentum * mean)
                step = orthogonalize(matrix).reshape(weight.shape)
                size = RMS * max(matrix.shape) ** 0.5
                weight.sub_(group["lr"] * self.kernel_rate * size * step)


def find_kernels(model, classes):
    """{parameter: function to a matrix}: what `is_matrix` takes of a Keras model."""
    if isinstance(model, KerasModel):
        keras_kernels = [x for x in model.model.trainable_variables if is_matrix(x)]
        kernels = [x.value for x in keras_kernels if x.shape[-1] != classes]
        return {x: lambda tensor: tensor.reshape(-1, tensor.shape[-1]) for x in kernels}
    layers = [x for x in model.modules() if isinstance(x, nn.Linear | nn.Conv2d)]
    layers = [x for x in layers if getattr(x, "groups", 1) == 1]
    kernels = [x.weight for x in layers if x.weight.shape[0] not in (1, classes)]
    return {x: lambda tensor: tensor.reshape(tensor.shape[0], -1) for x in kernels}
