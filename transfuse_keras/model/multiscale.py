"""Multi-scale training as in PraNet's released code, which TransFuse follows on polyps (section 3).

Every batch is trained at several sizes, one optimiser step each. The graph for each size comes
from `TransFuse.resized`, so there is one set of variables and optimiser slots.
"""

import keras
from keras import ops

from transfuse_keras.layers.upsampling import resize_bilinear


class Sizes:
    """The sizes at which a model trains, and a model for each.

    Keras would track and save the models in an attribute, list or dict, but looks into no object
    of an unknown class.

    Args:
        model: TransFuse.
        scales: positive numbers, by which each side of the model's size is multiplied.

    Attributes: `scales`, list of float; `own`, the model's (height, width); `steps`, that of each
    step; `models`, {(height, width): TransFuse} for all other sizes.
    """

    def __init__(self, model, scales):
        self.scales = [float(scale) for scale in scales]
        if not self.scales or not all(0 < scale < float("inf") for scale in self.scales):
            raise ValueError(f"scales must be positive numbers, at least one, not {scales}.")
        self.own = tuple(model.input_shape[1:3])
        self.steps = training_sizes(self.own, self.scales)
        self.models = {size: model.resized(size) for size in set(self.steps) - {self.own}}


def training_sizes(size, scales):
    """(height, width) times each scale, to the nearest multiple of 32; a scale of 1 keeps it."""

    def rescale(side, scale):
        return side if scale == 1 else max(32, round(side * scale / 32) * 32)

    return [tuple(rescale(side, scale) for side in size) for scale in scales]


def model_for(model, sizes, images, training):
    """What computes `images` (B, H, W, C): in training one of `sizes.models`, else `model`."""
    if sizes is None or not training:
        return model
    return sizes.models.get(tuple(keras.tree.flatten(images)[0].shape[1:3]), model)


def train_steps(train_step, sizes, *arguments):
    """Keras' `train_step` on the same batch at each of `sizes`.

    Its arguments are the batch, on JAX preceded by the state. Returns: what the last one returns;
    the logs are running means over all.
    """
    *state, batch = arguments
    for size in sizes.steps:
        result = train_step(*state, resize_batch(batch, sizes.own, size))
        state = result[1:] if state else state
    return result


def resize_batch(batch, own, size):
    """A batch at another size, resized as in PraNet's code, except that masks stay 0/1.

    Args:
        batch: images (B, H, W, C); optionally masks (B, H, W, M) of 0/1, any dtype, or a dict of
            them; optionally sample weights, one per image or (B, H, W[, M]).
        own, size: the maps' (H, W), which must be known statically, and the target.

    Returns: (images, masks, weights): float32 except for masks, which keep their dtype.

    Raises: ValueError for maps of another size than `own`.
    """
    if size == own:
        return batch

    def resize(maps):
        if tuple(maps.shape[1:3]) != own:
            raise ValueError(
                f"Training at several scales needs images and masks of the model's size {own}, "
                f"known before training; these have shape {tuple(maps.shape)}."
            )
        if len(maps.shape) == 3:
            return resize(maps[..., None])[..., 0]
        return resize_bilinear(ops.cast(maps, "float32"), size)

    def resize_mask(mask):
        # Rounded sides are even, so no interpolated 0/1 is one half, a matter of rounding errors.
        return mask if mask is None else ops.cast(resize(mask) >= 0.5, mask.dtype)

    def resize_weight(weight):
        return weight if weight is None or len(weight.shape) < 3 else resize(weight)

    images, masks, weights = keras.utils.unpack_x_y_sample_weight(batch)
    return (
        keras.tree.map_structure(resize, images),
        keras.tree.map_structure(resize_mask, masks),
        keras.tree.map_structure(resize_weight, weights),
    )
