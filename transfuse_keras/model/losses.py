"""Boundary-weighted IoU + binary cross entropy (paper, Loss Function; Qin et al. 2019)."""

import keras
from keras import ops

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

    Call: mask (B, H, W, M) of 0/1, logits (B, H, W, M) -> scalar (with the default reduction).

    Example:
        >>> import keras
        >>> import transfuse_keras as tk
        >>> mask = keras.ops.ones((1, 32, 32, 1))
        >>> loss = tk.StructureLoss()
        >>> bool(loss(mask, 9 * mask) < 0.001 < loss(mask, -9 * mask))
        True
    """

    def __init__(self, name="structure_loss", reduction="sum_over_batch_size", **kwargs):
        super().__init__(name=name, reduction=reduction, **kwargs)

    def call(self, y_true, y_pred):
        mask, logits = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        weight = boundary_weight(mask)

        def total(x):
            return ops.sum(weight * x, axis=(1, 2))

        # softplus(z) - z y is the cross entropy of sigmoid(z), stable for any z
        wbce = total(ops.softplus(logits) - logits * mask) / ops.sum(weight, axis=(1, 2))
        probability = ops.sigmoid(logits)
        intersection = total(probability * mask)
        union = total(probability + mask) - intersection
        wiou = 1.0 - (intersection + 1.0) / (union + 1.0)
        return ops.mean(wbce + wiou, axis=-1)
