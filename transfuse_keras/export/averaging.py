"""Trained models as one that is exported: the mean of their probabilities, of mirror images too."""

from dataclasses import dataclass

import keras

from transfuse_keras.errors import InputError
from transfuse_keras.inference.ensemble import average_predictors, refuse_other_sizes
from transfuse_keras.inference.predict import FLIP_AXES, average_flips
from transfuse_keras.inference.predictor import as_predictor


@dataclass(frozen=True)
class Averaged:
    """Models that become one graph.

    Attributes:
        models: tuple of TransFuse, alike in input, classes and normalisation.
        flips, mirrored_classes: as of `inference.predict`.
    """

    models: tuple
    flips: str = ""
    mirrored_classes: list[int] | None = None

    @property
    def input_shape(self):
        return self.models[0].input_shape

    @property
    def normalization(self):
        return self.models[0].normalization

    @property
    def variant(self):
        first = self.models[0].variant
        return first if all(model.variant == first for model in self.models) else None

    def as_predictor(self):
        """The Predictor that does the same without a common graph."""
        alone = [as_predictor(model) for model in self.models]
        return average_predictors(
            [average_flips(x, self.flips, self.mirrored_classes) for x in alone]
        )

    def connect(self, image, predict):
        """The mean of the probabilities as a part of a graph.

        Args:
            image: symbolic (B, H, W, C).
            predict: function of (keras.Model from a normalised image to logits, normalization,
                image) to probabilities.
        """
        maps = []
        for i, model in enumerate(self.models):
            # names in a graph differ; those of loaded models may not
            part = keras.Model(model.input, model.output["mask"], name=f"model_{i}")

            def run(x, part=part, normalization=model.normalization):
                return predict(part, normalization, x)

            maps.append(self.mirror(run, image, FLIP_AXES[self.flips]))
        return sum(maps[1:], maps[0]) / len(maps)

    def mirror(self, run, image, axes):
        """The mean over an image and its mirror images along `axes`, as of `average_flips`."""
        if not axes:
            return run(image)
        axis, *others = axes
        back = self.mirror(run, keras.ops.flip(image, axis), others)
        back = keras.ops.flip(back, axis)
        if axis == 2 and self.mirrored_classes is not None:
            back = keras.ops.take(back, self.mirrored_classes, axis=-1)
        return (self.mirror(run, image, others) + back) / 2


def combine(paths, models, flips, mirrored_classes):
    """The model that is exported: a single one without flips as it is, else an Averaged.

    Raises: InputError if the models are not alike.
    """
    if len(models) == 1 and not flips:
        return models[0]
    refuse_other_sizes(paths, [model.input_shape[1:3] for model in models])
    for path, model in zip(paths, models, strict=True):
        for name in ("classes", "normalization"):
            ours, theirs = getattr(models[0], name), getattr(model, name)
            if ours != theirs:
                raise InputError(
                    f"{path}: has another {name} than {paths[0]}, {theirs} and {ours}; one file "
                    "averages models that are alike."
                )
    return Averaged(tuple(models), flips, mirrored_classes)
