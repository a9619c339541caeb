"""Several models as one that averages their probabilities. Nothing here needs TensorFlow."""

from dataclasses import replace

import numpy as np

from transfuse_keras.errors import InputError


def average_predictors(predictors, spread=False):
    """The Predictor whose probabilities are the mean of those of others, which are alike.

    Args:
        predictors: list of Predictor.
        spread: give the standard deviation over the predictors, too: 2 * M maps, first the means.
    """
    if len(predictors) == 1 and not spread:
        return predictors[0]

    def run(images):
        maps = np.stack([predictor.run(images) for predictor in predictors])
        mean = maps.mean(axis=0)
        return np.concatenate([mean, maps.std(axis=0)], axis=-1) if spread else mean

    return replace(predictors[0], run=run, classes=predictors[0].classes * (1 + spread))


def refuse_other_sizes(paths, sizes):
    """Raise InputError if models that are to be averaged take images of different sizes.

    Args:
        paths: of the models.
        sizes: (height, width) of each.
    """
    for path, size in zip(paths, sizes, strict=True):
        if tuple(size) != tuple(sizes[0]):
            (height, width), (ours, across) = size, sizes[0]
            raise InputError(
                f"{path}: takes images of {height}x{width} pixels, {paths[0]} of {ours}x{across}; "
                "models that are averaged take the same size."
            )
