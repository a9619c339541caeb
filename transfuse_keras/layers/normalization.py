"""Batch and layer normalisation that keep nothing but their input for the gradient.

Differentiated step by step, a normalisation keeps several float32 tensors of the size of its
input until the backward pass, in mixed precision too. These recompute them there, in float32.
That was measured to pay in TensorFlow without XLA (docs/precision.md); on every other backend
`RECOMPUTES` is off, and these are Keras' own layers.
"""

import math

import keras
from keras import layers, ops

from transfuse_keras.devices import has_processes
from transfuse_keras.layers.exchange import means_over_processes

RECOMPUTES = keras.backend.backend() == "tensorflow"


def after_gradient(x, upstream):
    """The same tensor as `x`, of which nothing is computed before the gradient `upstream` exists.

    TensorFlow runs every operation as soon as it can: without this, what is to be recomputed in
    the backward pass would be computed in the forward pass already, and kept.
    """
    import tensorflow as tf

    with tf.control_dependencies([upstream]):
        return tf.identity(x)


def as_float32(x):
    """`x` in float32, or in float64 if it is."""
    return ops.cast(x, keras.backend.result_type(x.dtype, "float32"))


def normalize(x, gamma, beta, axes, epsilon):
    """gamma (x - mean) / sqrt(variance + epsilon) + beta, with the statistics of `x` itself.

    Args:
        x: (..., C) floating tensor.
        gamma, beta: (C,) tensors of the dtype of `as_float32(x)`.
        axes: over which mean and variance are taken: the last, or all others.
        epsilon: added to the variance.

    Returns: tensor like `x`; mean and variance over `axes`, which are kept with size 1, of
    the dtype of `as_float32(x)` and without gradient.
    """
    others = tuple(range(len(x.shape) - 1))
    mean, variance = ops.moments(as_float32(ops.stop_gradient(x)), axes, keepdims=True)
    inverse = ops.rsqrt(variance + epsilon)

    @ops.custom_gradient
    def apply(x, gamma, beta):
        y = (as_float32(x) - mean) * (inverse * gamma) + beta

        def gradient(upstream):
            centred = as_float32(after_gradient(x, upstream)) - mean
            along = as_float32(upstream)
            d_beta = ops.sum(along, others)
            # n = centred * inverse, g = along * gamma: d_x = inverse (g - mean g - n mean(g n))
            if tuple(axes) == others:  # what is one number a channel is multiplied first
                d_gamma = ops.sum(along * centred, others) * ops.squeeze(inverse, axes)
                scale = inverse * gamma
                share = scale / ops.cast(math.prod(ops.shape(x)[:-1]), scale.dtype)
                d_x = along * scale - centred * (share * inverse * d_gamma) - share * d_beta
            else:
                normal = centred * inverse
                d_gamma = ops.sum(along * normal, others)
                along = along * gamma
                shift = ops.mean(along, axes, keepdims=True)
                slope = ops.mean(along * normal, axes, keepdims=True)
                d_x = (along - shift - normal * slope) * inverse
            return ops.cast(d_x, x.dtype), d_gamma, d_beta

        return ops.cast(y, x.dtype), gradient

    return apply(x, gamma, beta), mean, variance


@keras.saving.register_keras_serializable("transfuse_keras")
class BatchNormalization(layers.BatchNormalization):
    """Keras' BatchNormalization over the last axis; in training it keeps only its input.

    Arguments are those of Keras. Statistics are float32 under every policy. Frozen or in inference
    it is Keras' own, and so it is if `synchronized`, whose statistics come from all replicas, and
    on other backends than TensorFlow. In processes that share a batch they come from all of these.
    """

    def call(self, x, training=None):
        if not (RECOMPUTES and training and self.trainable) or self.synchronized:
            return super().call(x, training=training)
        axes = tuple(range(len(x.shape) - 1))
        gamma, beta = ops.copy(self.gamma), ops.copy(self.beta)
        y, mean, variance = normalize(x, gamma, beta, axes, self.epsilon)
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving + (ops.squeeze(value, axes) - moving) * (1.0 - self.momentum))
        return y

    def _moments(self, inputs, mask):
        if not has_processes():
            return super()._moments(inputs, mask)
        axes = tuple(range(len(inputs.shape) - 1))
        means = [ops.mean(inputs, axes), ops.mean(ops.square(inputs), axes)]
        mean, square = means_over_processes(means)
        return mean, square - ops.square(mean)


# Were the private hook renamed, each process would take the statistics of its part of the batch
assert hasattr(layers.BatchNormalization, "_moments"), (
    "this Keras computes batch statistics by another method: BatchNormalization must replace that"
)


@keras.saving.register_keras_serializable("transfuse_keras")
class LayerNormalization(layers.LayerNormalization):
    """LayerNormalization over the last axis, in the form that takes the fewest operations.

    Keras multiplies mean and input by the scale apart, three more passes over all tokens in an
    exported graph; in this form OpenVINO and ONNX Runtime fuse it too. Runs in float32, its output
    is of the compute dtype; in training it keeps only its input. On other backends than
    TensorFlow, which exports, it is Keras' own.
    """

    def call(self, x, training=None):
        if not RECOMPUTES:
            return super().call(x)
        if training:
            gamma, beta = ops.copy(self.gamma), ops.copy(self.beta)
            return normalize(x, gamma, beta, (len(x.shape) - 1,), self.epsilon)[0]
        centred = ops.cast(x, "float32")
        centred = centred - ops.mean(centred, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
        normalised = centred * ops.rsqrt(variance + self.epsilon)
        return ops.cast(normalised * self.gamma + self.beta, x.dtype)
