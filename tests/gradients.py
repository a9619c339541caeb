"""Loss and gradients of a training step, as each backend of Keras computes them."""

import keras
import numpy as np

BACKEND = keras.backend.backend()


def loss_and_gradients(model, images, masks):
    """One forward and backward pass of a compiled model in training; no weight is changed.

    On TensorFlow and PyTorch the moving statistics are moved by it, on JAX they are moved here.

    Returns: (loss, list of gradients in the order of `model.trainable_variables`), NumPy arrays.
    """
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = model.compute_loss(images, masks, model(images, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
    elif BACKEND == "torch":
        model.zero_grad()
        images, masks = map(keras.ops.convert_to_tensor, (images, masks))
        loss = model.compute_loss(images, masks, model(images, training=True))
        loss.backward()
        gradients = [variable.value.grad for variable in model.trainable_variables]
    else:
        import jax

        metrics = [v.value for v in model.metrics_variables]
        others = [v.value for v in model.non_trainable_variables]
        step = jax.value_and_grad(model.compute_loss_and_updates, has_aux=True)
        trainable = [v.value for v in model.trainable_variables]
        state = [v.value for v in model.optimizer.variables]
        (loss, (_, _, others, metrics)), gradients = step(
            trainable, others, metrics, images, masks, None, True, state
        )
        moved = zip(model.non_trainable_variables, others, strict=True)
        counted = zip(model.metrics_variables, metrics, strict=True)
        for variable, value in (*moved, *counted):
            variable.assign(value)
    return np.asarray(to_numpy(loss)), [to_numpy(gradient) for gradient in gradients]


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)
