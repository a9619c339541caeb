"""Muon (Jordan et al. 2024): steps of kernels that move every direction by as much."""

import math
from typing import Any

import keras
from keras import ops

from transfuse_keras.training.adam import Adam

STEPS = 3  # of the iteration
QUINTIC = (3.4445, -4.7750, 2.0315)  # its coefficients, as published
RMS = 0.2  # root mean square of a step / learning rate, as of Adam (Liu et al. 2025)
CLASSIFIER = "classify"  # in the path of a kernel that makes logits


@keras.saving.register_keras_serializable("transfuse_keras")
class Muon(Adam):
    """Muon for the kernels of a model, Adam for all its other weights.

    A kernel is taken for a matrix: what comes in (of a convolution its window, too) times what goes
    out. Its gradient is averaged over steps (Nesterov's momentum), then its singular values are
    made about 1, so that rare directions are learned as fast as frequent ones. From random weights
    and in few epochs this gives far better masks than Adam, see docs/results.md. Source: Jordan et
    al. 2024, https://kellerjordan.github.io/posts/muon/; the size of the step is that of Liu et al.
    2025, https://arxiv.org/abs/2502.16982. Keras' own Muon leaves convolutions to Adam.

    Adam takes the kernels that make logits, those of depthwise convolutions and all with a single
    output, as well as biases, normalisations and positions.

    Args:
        learning_rate: as Keras' Adam takes it; of Adam's weights.
        kernel_rate: the learning rate of the kernels is so many times as large.
        momentum: decay of the mean gradient of a kernel.
        **kwargs: as of Keras' Adam; betas and epsilon are for Adam's weights.

    Raises: ValueError for `amsgrad`, which it has not.

    Example:
        >>> import transfuse_keras as tk
        >>> model = tk.UNet("resnet18", input_shape=(32, 32, 3))
        >>> model.compile(tk.Muon(1e-3, kernel_rate=8.0, global_clipnorm=2.0))
        >>> model.optimizer.momentum
        0.9
    """

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        kernel_rate: float = 8.0,
        momentum: float = 0.9,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        if self.amsgrad:
            raise ValueError("Muon has no amsgrad; leave it out.")
        self.kernel_rate = kernel_rate
        self.momentum = momentum

    def build(self, variables: list[keras.Variable]) -> None:
        """Make the mean gradients, and for Adam's weights the mean squares."""
        if self.built:
            return
        keras.optimizers.Optimizer.build(self, variables)
        self._momentums, self._velocities = [], []
        for variable in variables:
            mean = self.add_variable_from_reference(variable, name="momentum")
            square = None
            if not is_matrix(variable):
                square = self.add_variable_from_reference(variable, name="velocity")
            self._momentums.append(mean)
            self._velocities.append(square)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        index = self._get_variable_index(variable)
        if self._velocities[index] is not None:
            super().update_step(gradient, variable, learning_rate)
            return
        mean = self._momentums[index]
        gradient = ops.cast(gradient, variable.dtype)
        self.assign(mean, self.momentum * mean + gradient)
        step = orthogonalize(ops.reshape(gradient + self.momentum * mean, matrix_shape(variable)))
        size = RMS * max(matrix_shape(variable)) ** 0.5
        rate = ops.cast(learning_rate, variable.dtype) * (self.kernel_rate * size)
        self.assign_sub(variable, rate * ops.reshape(step, variable.shape))

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "kernel_rate": self.kernel_rate,
            "momentum": self.momentum,
        }


def is_matrix(variable):
    """Whether Muon takes a weight of a model, by its name and shape."""
    kernel = variable.name == "kernel" and CLASSIFIER not in variable.path
    return kernel and min(matrix_shape(variable)) > 1


def matrix_shape(variable):
    """(inputs, outputs) of a kernel of a dense layer or a convolution."""
    *rest, outputs = variable.shape
    return math.prod(rest), outputs


def orthogonalize(matrix):
    """A matrix of the same singular vectors, whose singular values are about 1.

    An iteration by Newton and Schulz, without a decomposition. It works on the product of the
    matrix and its transpose, as that is smaller; and it begins with a largest value near 1, which
    spares two of the five published steps.

    Args:
        matrix: (R, C), floating point.

    Returns: (R, C), as the argument; zeros stay zeros.
    """
    rows, columns = matrix.shape
    x = ops.transpose(matrix) if rows > columns else matrix
    x = x / (ops.sqrt(ops.sum(ops.square(x))) + 1e-7)
    gram = ops.matmul(x, ops.transpose(x))
    square = ops.matmul(gram, gram)
    # the root of its norm is little more than the largest eigenvalue of `gram`
    largest = ops.sqrt(ops.sqrt(ops.sum(ops.square(square)))) + 1e-12
    gram, square = gram / largest, square / ops.square(largest)
    a, b, c = QUINTIC
    one = ops.eye(gram.shape[0], dtype=gram.dtype)
    whole = None
    for step in range(STEPS):
        factor = a * one + b * gram + c * square
        whole = factor if whole is None else ops.matmul(whole, factor)
        if step + 1 < STEPS:
            gram = ops.matmul(ops.matmul(factor, gram), factor)
            square = ops.matmul(gram, gram)
    x = ops.matmul(whole, x) / ops.sqrt(largest)
    return ops.transpose(x) if rows > columns else x
