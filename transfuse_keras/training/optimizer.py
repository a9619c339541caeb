"""Adam as the recipes want it, and its learning rate."""

import keras

from transfuse_keras.devices import has_replicas


@keras.saving.register_keras_serializable("transfuse_keras")
class Adam(keras.optimizers.Adam):
    """Keras' Adam that clips the gradient of the whole batch, as one device would.

    Keras under a tf.distribute strategy clips what each replica contributes, and adds up then.
    Arguments and state are those of Keras' Adam.
    """

    def apply(self, grads, trainable_variables=None):
        super().apply(sum_over_replicas(grads), trainable_variables)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return grads_and_vars  # they are sums already


def sum_over_replicas(tensors):
    """Each of a list of tensors added up over all replicas of tf.distribute; else as they are."""
    if not has_replicas():
        return tensors
    import tensorflow as tf

    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tensors)


def create_optimizer(recipe, batches):
    """Adam as a recipe wants it, for so many training batches in an epoch."""
    beta_1, beta_2 = recipe.betas
    return Adam(
        create_learning_rate(recipe, batches),
        beta_1=beta_1,
        beta_2=beta_2,
        global_clipnorm=recipe.clip_norm,
        clipvalue=recipe.clip_value,
        gradient_accumulation_steps=recipe.accumulate if recipe.accumulate > 1 else None,
    )


def create_learning_rate(recipe, batches):
    """The learning rate of a recipe: a number, or a schedule of the optimiser's iterations."""
    if recipe.warm_up is None:
        return recipe.learning_rate
    steps = batches * recipe.epochs * len(recipe.scales or (1,))
    rising = round(recipe.warm_up * steps)
    return keras.optimizers.schedules.CosineDecay(
        0.0, steps - rising, warmup_target=recipe.learning_rate, warmup_steps=rising
    )
