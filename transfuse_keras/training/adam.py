"""Adam, sooner at work on TensorFlow, and right where several devices share a batch."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from transfuse_keras.devices import has_processes, has_replicas
from transfuse_keras.layers.exchange import means_over_processes

FUSED = keras.backend.backend() == "tensorflow"


@keras.saving.register_keras_serializable("transfuse_keras")
class Adam(keras.optimizers.Adam):
    """Keras' Adam, sooner at work on TensorFlow, that clips the gradient of the whole batch.

    Arguments, state and steps are those of Keras' Adam (Kingma and Ba 2015), float32 rounding
    apart. On TensorFlow one operation updates a float32 weight, where Keras' own has about fifty:
    the first step takes half the time, and less memory (docs/speed.md). Keras under a
    tf.distribute strategy clips what each replica contributes, and adds up then; this one adds up
    first, as one device would. It takes the mean over processes that share a training, which
    Keras' own does not.

    Example:
        >>> import transfuse_keras as tk
        >>> model = tk.UNet("resnet18", input_shape=(32, 32, 3))
        >>> model.compile(tk.Adam(1e-3, global_clipnorm=2.0))
        >>> float(model.optimizer.global_clipnorm)
        2.0
    """

    shared: Any  # what the updates of all weights need, while a step is traced

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        if FUSED:
            step = ops.cast(self.iterations + 1, "float32")
            betas = [ops.convert_to_tensor(x, "float32") for x in (self.beta_1, self.beta_2)]
            self.shared = {
                "beta1": betas[0],
                "beta2": betas[1],
                "beta1_power": ops.power(betas[0], step),
                "beta2_power": ops.power(betas[1], step),
                "epsilon": ops.convert_to_tensor(self.epsilon, "float32"),
                "lr": ops.cast(self.learning_rate, "float32"),
            }
        super().apply(of_whole_batch(grads), trainable_variables)
        self.shared = None  # tensors of this graph alone

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if not FUSED or self.amsgrad or variable.dtype != "float32":
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            grad=gradient,
            **self.shared,
        )

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return grads_and_vars  # they are sums already


# Were the private hook renamed, gradients on N replicas would be N times too large
if FUSED:
    assert hasattr(keras.optimizers.Adam, "_all_reduce_sum_gradients"), (
        "this Keras adds up gradients by another method: Adam must replace that one"
    )


def of_whole_batch(tensors):
    """Each of a list of gradients of a part of the batch as that of the whole batch.

    tf.distribute has divided the losses of its replicas by their number, so there they add up.
    """
    if has_processes():
        return means_over_processes(tensors)
    if not has_replicas():
        return tensors
    import tensorflow as tf

    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tensors)
