"""Keras metrics for `compile`: scores of single images, averaged over an epoch."""

from typing import Any

import keras
from keras import ops

from transfuse_keras.errors import InputError


class ImageScore(keras.metrics.Metric):
    """Mean score of single images on logits, not the score of all pixels together.

    A class scores the mean over the images whose truth is not empty; the result is the mean over
    the classes that had such an image, 0 if none had. A pixel is predicted where its probability
    reaches 0.5, its logit 0. The state is sums only, so it adds up over batches and replicas.

    Args:
        classes: number M of maps.

    Update: mask (B, H, W, M) of 0/1, logits (B, H, W, M), sample_weight or None: (B,) are the
    weights of the images in the mean, (B, H, W) those of the pixels in the score of an image.

    Result: float32 scalar in [0, 1].

    Raises: InputError for logits of another number of maps.
    """

    def __init__(self, classes: int = 1, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.classes = classes
        # float32 whatever the policy: float16 cannot count the pixels of an image
        state = {"shape": (classes,), "initializer": "zeros", "dtype": "float32"}
        self.total = self.add_weight(**state, name="total")
        self.count = self.add_weight(**state, name="count")

    def score(self, hit: Any, size: Any, found: Any) -> Any:
        """Scores (B, M) from the numbers of pixels hit, true (at least one) and predicted."""
        raise NotImplementedError

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        if y_pred.shape[-1] != self.classes:
            raise InputError(
                f"The metric {self.name} was made for classes={self.classes}, but the model has "
                f"{y_pred.shape[-1]} maps; give {type(self).__name__}(classes={y_pred.shape[-1]})."
            )
        truth = ops.cast(y_true, "float32")
        predicted = ops.cast(ops.cast(y_pred, "float32") >= 0, "float32")
        images, pixels = split_weight(sample_weight)
        hit, size, found = (
            ops.sum(x * pixels, axis=(1, 2)) for x in (truth * predicted, truth, predicted)
        )
        weight = ops.cast(size > 0, "float32") * images
        score = self.score(hit, ops.where(size > 0, size, 1.0), found)
        self.total.assign_add(ops.sum(weight * score, axis=0))
        self.count.assign_add(ops.sum(weight, axis=0))

    def result(self) -> Any:
        seen = ops.cast(self.count > 0, "float32")
        per_class = ops.divide_no_nan(self.total, self.count)
        return ops.divide_no_nan(ops.sum(per_class), ops.sum(seen))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "classes": self.classes}


def split_weight(sample_weight):
    """A sample weight as weights of the images (B, 1) and of the pixels (B, H, W, 1), 1 for
    either that it does not give."""
    if sample_weight is None:
        return 1.0, 1.0
    weight = ops.cast(sample_weight, "float32")
    if len(weight.shape) < 3:
        return ops.reshape(weight, (-1, 1)), 1.0
    return 1.0, weight if len(weight.shape) == 4 else weight[..., None]


@keras.saving.register_keras_serializable("transfuse_keras")
class DiceScore(ImageScore):
    """Mean Dice coefficient of single images, `metrics.dice`; see ImageScore.

    Example:
        >>> import numpy as np
        >>> import transfuse_keras as tk
        >>> truth, logits = np.ones((1, 2, 2, 1)), np.array([9, -9, -9, -9]).reshape(1, 2, 2, 1)
        >>> round(float(tk.metrics.DiceScore()(truth, logits)), 6)
        0.4
    """

    def __init__(self, classes: int = 1, name: str = "dice", **kwargs: Any) -> None:
        super().__init__(classes, name, **kwargs)

    def score(self, hit: Any, size: Any, found: Any) -> Any:
        return 2 * hit / (size + found)


@keras.saving.register_keras_serializable("transfuse_keras")
class IoUScore(ImageScore):
    """Mean intersection over union of single images, `metrics.iou`; see ImageScore.

    Example:
        >>> import numpy as np
        >>> import transfuse_keras as tk
        >>> truth, logits = np.ones((1, 2, 2, 1)), np.array([9, -9, -9, -9]).reshape(1, 2, 2, 1)
        >>> round(float(tk.metrics.IoUScore()(truth, logits)), 6)
        0.25
    """

    def __init__(self, classes: int = 1, name: str = "iou", **kwargs: Any) -> None:
        super().__init__(classes, name, **kwargs)

    def score(self, hit: Any, size: Any, found: Any) -> Any:
        return hit / (size + found - hit)
