"""The optimiser as a recipe wants it, and its learning rate."""

from contextlib import contextmanager
from functools import partial

import keras
import numpy as np
from keras import ops
from keras.optimizers.schedules import CosineDecay

from transfuse_keras.training.adam import Adam
from transfuse_keras.training.muon import Muon

NOT_DECAYED = ("bias", "gamma", "beta", "positions")  # weight decay is for kernels


def create_optimizer(recipe, batches, restart=0):
    """Adam or Muon as a recipe wants it.

    Args:
        recipe: Recipe.
        batches: number of training batches in an epoch.
        restart: epoch from which on the learning rate follows a new cosine.
    """
    beta_1, beta_2 = recipe.betas
    averaging = {} if recipe.ema is None else {"use_ema": True, "ema_momentum": recipe.ema}
    kind = Adam if recipe.muon is None else partial(Muon, kernel_rate=recipe.muon)
    optimizer = kind(
        create_learning_rate(recipe, batches, restart),
        beta_1=beta_1,
        beta_2=beta_2,
        epsilon=recipe.epsilon,
        weight_decay=recipe.weight_decay,
        global_clipnorm=recipe.clip_norm,
        clipvalue=recipe.clip_value,
        gradient_accumulation_steps=recipe.accumulate if recipe.accumulate > 1 else None,
        **averaging,
    )
    optimizer.exclude_from_weight_decay(var_names=NOT_DECAYED)
    return optimizer


@keras.saving.register_keras_serializable("transfuse_keras")
class CosineRestart(CosineDecay):
    """A CosineDecay whose first step is the optimiser's step `start`; other arguments as there."""

    def __init__(self, *args, start=0, **kwargs):
        super().__init__(*args, **kwargs)
        self.start = start

    def __call__(self, step):
        steps = ops.cast(step, "float32") - self.start  # below 0 if some were skipped
        return super().__call__(ops.maximum(steps, 0.0))

    def get_config(self):
        return {**super().get_config(), "start": self.start}


def create_learning_rate(recipe, batches, restart=0):
    """The learning rate of a recipe: a number, or a schedule of the optimiser's iterations.

    Args: as of `create_optimizer`.
    """
    if recipe.warm_up is None:
        return recipe.learning_rate
    per_epoch = batches * len(recipe.scales or (1,))
    steps = per_epoch * (recipe.epochs - restart)
    rising = round(recipe.warm_up * steps)
    rates = {"warmup_target": recipe.learning_rate, "warmup_steps": rising}
    if not restart:
        return CosineDecay(0.0, steps - rising, **rates)
    return CosineRestart(0.0, steps - rising, **rates, start=per_epoch * restart)


@contextmanager
def averaged_weights(model):
    """Within this context a model has the running mean of its weights, if its optimiser
    keeps one; see `Recipe.ema`. Statistics of the normalisations are those of the last step.

    Yields: whether there is one.
    """
    adam = getattr(model, "optimizer", None)
    adam = getattr(adam, "inner_optimizer", adam)  # of a LossScaleOptimizer
    means = getattr(adam, "_model_variables_moving_average", None)
    if not means:
        yield False
        return
    variables = list(model.trainable_variables)
    own = [np.array(ops.convert_to_numpy(variable)) for variable in variables]
    for variable, mean in zip(variables, means, strict=True):
        variable.assign(ops.convert_to_numpy(mean))
    try:
        yield True
    finally:
        for variable, value in zip(variables, own, strict=True):
            variable.assign(value)
