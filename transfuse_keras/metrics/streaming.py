"""Keras metrics for `compile`: scores of single images, averaged over an epoch."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("transfuse_keras")
class DiceScore(keras.metrics.Metric):
    """Mean Dice of single images on logits, not the Dice of all pixels together.

    A class scores the mean over the images whose truth is not empty; the result is the mean over
    the classes that had such an image, 0 if none had. A pixel is predicted where its probability
    reaches 0.5. The state is sums only, so it adds up over batches and replicas.

    Args:
        classes: number M of maps.

    Update: mask (B, H, W, M) of 0/1, logits (B, H, W, M), sample_weight (B,) or None.
    """

    def __init__(self, classes=1, name="dice", **kwargs):
        super().__init__(name=name, **kwargs)
        self.classes = classes
        self.total = self.add_weight(shape=(classes,), initializer="zeros", name="total")
        self.count = self.add_weight(shape=(classes,), initializer="zeros", name="count")

    def update_state(self, y_true, y_pred, sample_weight=None):
        truth = ops.cast(y_true, self.dtype)
        predicted = ops.cast(ops.cast(y_pred, "float32") >= 0, self.dtype)
        hit, size, found = (ops.sum(x, axis=(1, 2)) for x in (truth * predicted, truth, predicted))
        weight = ops.cast(size > 0, self.dtype)
        if sample_weight is not None:
            weight = weight * ops.reshape(ops.cast(sample_weight, self.dtype), (-1, 1))
        score = 2 * hit / ops.maximum(size + found, 1)
        self.total.assign_add(ops.sum(weight * score, axis=0))
        self.count.assign_add(ops.sum(weight, axis=0))

    def result(self):
        seen = ops.cast(self.count > 0, self.dtype)
        per_class = ops.divide_no_nan(self.total, self.count)
        return ops.divide_no_nan(ops.sum(per_class), ops.sum(seen))

    def get_config(self):
        return {**super().get_config(), "classes": self.classes}
