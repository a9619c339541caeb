"""Boundary-weighted IoU + binary cross entropy (paper, Loss Function; Qin et al. 2019)."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from transfuse_keras.errors import InputError
from transfuse_keras.model.targets import as_masks, check_target

WINDOW = 31  # side of the square whose mean tells how close a boundary is
BOUNDARY = 5.0  # how much more a pixel on a boundary counts


def boundary_weight(mask):
    """1 + 5 |mean of the 31x31 neighbourhood - mask|, zeros counted beyond the border.

    Args:
        mask: (B, H, W, M) floating tensor of 0/1.

    Returns: (B, H, W, M) weights in [1, 6].
    """
    # "same" pooling leaves padded zeros out of the mean, so pad first; a mean over a square
    # is a mean over columns of means over rows, at a fifteenth of the additions.
    pad = WINDOW // 2
    mean = ops.pad(mask, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    mean = ops.average_pool(mean, (WINDOW, 1), strides=1, data_format="channels_last")
    mean = ops.average_pool(mean, (1, WINDOW), strides=1, data_format="channels_last")
    return 1.0 + BOUNDARY * ops.abs(mean - mask)


@keras.saving.register_keras_serializable("transfuse_keras")
class StructureLoss(keras.losses.Loss):
    """L = L_IoU^w + L_bce^w on logits, for independent sigmoid maps.

    Both terms weigh every pixel by `boundary_weight`, are computed for each image and class in
    float32 and averaged over the classes; the IoU has 1 added above and below, so an empty
    mask that stays empty costs nothing.

    Call: mask, logits (B, H, W, M), sample weight or None -> scalar (with the default reduction).
    The mask is (B, H, W, M) of 0/1, or a label map, see `as_masks`.

    A sample weight (B,) weighs images. One of (B, H, W), (B, H, W, 1) or (B, H, W, M) weighs
    pixels: it multiplies `boundary_weight`, and the loss of an image is multiplied by its mean, so
    that a weight of 2 everywhere doubles the loss. Pixels of weight 0 count nothing; to the 31x31
    neighbourhoods of others they are background.

    Args:
        class_weights: M numbers, how much each class counts in the mean over the classes: more for
            those that are rare or small. None: all the same.
        focal: the cross entropy of a pixel is multiplied by its error |mask - probability| to this
            power, so that what is easy counts less (Lin et al. 2017 take 2). 0: it is not.

    Raises: InputError if the mask is a NumPy array of another shape or other values.

    Example:
        >>> import keras
        >>> import transfuse_keras as tk
        >>> mask = keras.ops.ones((1, 32, 32, 1))
        >>> loss = tk.StructureLoss()
        >>> bool(loss(mask, 9 * mask) < 0.001 < loss(mask, -9 * mask))
        True
    """

    def __init__(
        self,
        name: str = "structure_loss",
        reduction: str | None = "sum_over_batch_size",
        class_weights: Sequence[float] | None = None,
        focal: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, reduction=reduction, **kwargs)
        if class_weights is not None:
            check_class_weights(class_weights)
        if not isinstance(focal, (int, float)) or not 0 <= focal < np.inf:
            raise InputError(f"focal {focal!r}: give a number from 0 on.")
        self.class_weights, self.focal = class_weights, focal

    def get_config(self) -> dict[str, Any]:
        terms = {"class_weights": self.class_weights, "focal": self.focal}
        return {**super().get_config(), **terms}

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        classes = y_pred.shape[-1]
        if isinstance(y_true, np.ndarray):
            check_target(y_true, classes, y_pred.shape[1:3])
        y_true = as_masks(y_true, classes)
        if sample_weight is None or len(sample_weight.shape) < 3:
            return super().__call__(y_true, y_pred, sample_weight)
        return super().__call__((y_true, sample_weight), y_pred)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each image; `y_true` is the mask, or (mask, weights of the pixels)."""
        logits = ops.cast(y_pred, "float32")
        if isinstance(y_true, tuple):
            mask, pixel_weight = (ops.cast(x, "float32") for x in y_true)
            return self.average(weighted_loss(mask, pixel_weight, logits, self.focal))
        mask = ops.cast(y_true, "float32")
        weight = boundary_weight(mask)

        def total(x):
            return ops.sum(weight * x, axis=(1, 2))

        wbce = total(cross_entropy(mask, logits, self.focal)) / ops.sum(weight, axis=(1, 2))
        probability = ops.sigmoid(logits)
        intersection = total(probability * mask)
        union = total(probability + mask) - intersection
        wiou = 1.0 - (intersection + 1.0) / (union + 1.0)
        return self.average(wbce + wiou)

    def average(self, losses: Any) -> Any:
        """The mean (B,) over the classes of (B, M)."""
        if self.class_weights is None:
            return ops.mean(losses, axis=-1)
        if len(self.class_weights) != losses.shape[-1]:
            raise InputError(
                f"class_weights {self.class_weights}: give one for each of the {losses.shape[-1]} "
                "classes."
            )
        weights = np.asarray(self.class_weights, "float32")
        return ops.sum(losses * (weights / weights.sum()), axis=-1)


def check_class_weights(weights):
    """Raise InputError unless these are numbers from 0 on, not all 0."""
    try:
        values = np.asarray(weights, "float64")
    except (TypeError, ValueError):
        values = np.zeros(0)
    if values.ndim != 1 or not (np.isfinite(values) & (values >= 0)).all() or not values.any():
        raise InputError(f"class_weights {weights!r}: give numbers from 0 on, not all 0.")


def cross_entropy(mask, logits, focal=0.0):
    """The cross entropy of each pixel, (B, H, W, M); `focal` as of StructureLoss."""
    # softplus(z) - z y is that of sigmoid(z), stable for any z
    values = ops.softplus(logits) - logits * mask
    if not focal:
        return values
    return values * ops.power(ops.sigmoid((1.0 - 2.0 * mask) * logits), focal)


def weighted_loss(mask, pixel_weight, logits, focal=0.0):
    """The loss (B, M) of each image and class where every pixel has a weight, see StructureLoss.

    Args:
        mask, logits: (B, H, W, M).
        pixel_weight: (B, H, W), (B, H, W, 1) or (B, H, W, M), not negative.
    """
    if len(pixel_weight.shape) == 3:
        pixel_weight = pixel_weight[..., None]
    mask = mask * ops.cast(pixel_weight > 0, "float32")
    weight = boundary_weight(mask) * pixel_weight
    mean = ops.mean(pixel_weight, axis=(1, 2))

    def total(x):
        return ops.sum(weight * x, axis=(1, 2))

    wbce = ops.divide_no_nan(
        total(cross_entropy(mask, logits, focal)), ops.sum(weight, axis=(1, 2))
    )
    probability = ops.sigmoid(logits)
    intersection = total(probability * mask)
    union = total(probability + mask) - intersection
    # the mean stands for the 1 of the loss without weights, so that only ratios matter here
    wiou = 1.0 - ops.divide_no_nan(intersection + mean, union + mean)
    return mean * (wbce + wiou)
