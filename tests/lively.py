"""Models that behave like trained ones, without training."""

from dataclasses import replace

import keras
import numpy as np

from transfuse_keras.data.phantoms import phantoms
from transfuse_keras.files import write_json
from transfuse_keras.model.transfuse import TransFuse
from transfuse_keras.runs.settings import Settings, describe_settings


def lively(variant, input_shape=(64, 96, 3), classes=2, **arguments):
    """A seeded TransFuse whose normalisations all do something.

    Their statistics are those of a batch of phantoms, then shaken, so that maps neither vanish
    nor explode and nothing folds away by chance.
    """
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    model = TransFuse(variant, input_shape, classes, **arguments)
    norms = [x for x in model._flatten_layers() if isinstance(x, keras.layers.BatchNormalization)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.gamma.assign(rng.uniform(0.7, 1.3, norm.gamma.shape))
        norm.beta.assign(rng.normal(0, 0.2, norm.beta.shape))
        norm.momentum = 0  # what is seen once is what stays
    images = pictures(8, input_shape[:2])[..., : input_shape[2]]
    mean, std = (np.asarray(values, "float32") for values in model.normalization)
    model((images / 255 - mean) / std, training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        spread = np.sqrt(norm.moving_variance)
        norm.moving_mean.assign_add(0.1 * spread * rng.standard_normal(spread.shape))
        norm.moving_variance.assign(norm.moving_variance * rng.uniform(0.8, 1.25, spread.shape))
    return model


def pictures(count, size, seed=0):
    """Phantom radiographs, float32 (count, *size, 3) in 0-255."""
    return phantoms("hip", count, size, seed)[0].astype("float32")


def phantom_run(folder, model, task):
    """The run folder of a model on a few phantoms of its size."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe = replace(task.phantom_recipe, image_size=model.input_shape[1:3], counts=(6, 2, 3))
    task = replace(task, phantom_recipe=recipe)
    model.save(folder / "model.keras")
    write_json(folder / "config.json", describe_settings(Settings(task, None, recipe)))
    return folder
