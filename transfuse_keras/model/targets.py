"""The masks that a model is trained on: which shapes and values they may have, and label maps.

Whatever costs time is done once, on arrays or on the first batch, and not in the graph.
"""

import inspect
import math
from contextlib import contextmanager

import numpy as np
from keras import backend, ops, tree, utils

from transfuse_keras.errors import InputError


def as_masks(target, classes):
    """Label maps as masks, in the graph; masks as they are.

    Args:
        target: (B, H, W, M) masks; (B, H, W) or, if M > 1, (B, H, W, 1) is a label map, where 0 is
            background and label k is class k - 1. If M is 1, (B, H, W) is the mask.
        classes: M.

    Returns: tensor (B, H, W, M); float32 if it was a label map.
    """
    if len(target.shape) == 3:
        target = target[..., None]
    if classes == 1 or target.shape[-1] == classes:
        return target
    labels = ops.arange(1, classes + 1, dtype="float32")
    drawn = ops.cast(ops.equal(ops.cast(target, "float32"), labels), "float32")
    if target.shape[-1] is None:  # a graph of Keras that was given both
        return ops.where(ops.shape(target)[-1] == 1, drawn, ops.cast(target, "float32"))
    return drawn


def check_target(target, classes, size):
    """Raise InputError unless an array is what `as_masks` takes.

    Args:
        target: array; masks have values from 0 to 1, label maps whole numbers from 0 to M.
        classes: M.
        size: (H, W).
    """
    target = np.asarray(target)
    height, width = size
    masks = f"(N, {height}, {width}, {classes}) masks with values from 0 to 1"
    labels = f"(N, {height}, {width}) label maps with the values 0 to {classes}"
    wanted = masks if classes == 1 else f"{masks} or {labels}"
    shape = target.shape if target.ndim == 4 else (*target.shape, 1)
    is_label_map = classes > 1 and shape[-1] == 1
    if len(shape) != 4 or shape[1:3] != tuple(size) or shape[3] not in (1, classes):
        raise InputError(f"The masks have the shape {target.shape}; they must be {wanted}.")
    if not target.size:
        return
    low, high = target.min(), target.max()
    if not (low >= 0 and high <= (classes if is_label_map else 1)):  # also where there is a nan
        remedy = "; divide them by 255" if high == 255 and low >= 0 and not is_label_map else ""
        raise InputError(
            f"The masks, of shape {target.shape}, have values from {low:g} to {high:g}; they must "
            f"be {wanted}{remedy}."
        )
    if is_label_map and (broken := target[target % 1 > 0]).size:
        raise InputError(
            f"The label maps, of shape {target.shape}, hold {broken[0]}, which is no whole number: "
            f"round them. They must be {wanted}."
        )


def check_images(images, normalization):
    """Raise InputError for an array of images in 0-255 for a model that takes normalised ones.

    Args:
        images: array, or anything else that `fit` takes.
        normalization: (mean, std) of image / 255, one value per channel.
    """
    mean, std = (np.asarray(values, "float64") for values in normalization)
    white = ((1 - mean) / std).max()
    if not isinstance(images, np.ndarray) or not images.size or white >= 255:
        return
    if images.dtype == np.uint8 or (images.min() >= 0 and images.max() > 10 * white):
        raise InputError(
            f"The images, of shape {images.shape}, have values up to {images.max():g}; they must "
            "be normalised, (images / 255 - mean) / std with mean, std = model.normalization, as "
            "tk.dataset gives them."
        )


def weigh_classes(target, weights, classes):
    """Sample weights of pixels by class.

    Args:
        target: array, as of `check_target`.
        weights: class -> weight; 0 is background, k the class k - 1; 1 for those not named.
        classes: M.

    Returns: float32 (N, H, W).
    """
    labels = np.asarray(target)
    if labels.ndim == 4 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    elif labels.ndim == 4:
        labels = np.where(labels.any(axis=-1), labels.argmax(axis=-1) + 1, 0)
    table = np.ones(classes + 1, "float32")
    for label, weight in weights.items():
        if label not in range(classes + 1):
            raise InputError(
                f"class_weight names {label}; it goes from 0, background, to {classes}."
            )
        table[label] = weight
    return table[np.rint(labels).astype("int64")]


class FirstBatch:
    """Checks the targets of arrays, and of datasets those of the first batch when it comes.

    Args:
        classes: number M of maps.
        size: (H, W) of the model.

    Attributes: `error`, what a batch was refused for; TensorFlow raises another error then.
    """

    def __init__(self, classes, size):
        self.classes, self.size, self.error = classes, size, None

    def check(self, targets):
        """Raise InputError unless all arrays of a structure can be trained on."""
        try:
            for target in tree.flatten(targets):
                if target is not None:
                    check_target(target, self.classes, self.size)
        except InputError as error:
            self.error = error
            raise

    def watch(self, data, targets=None):
        """The data as `fit` takes it, checked now or when its first batch comes.

        Args:
            data: images, or a tf.data.Dataset, PyDataset or generator of batches.
            targets: of images.
        """
        if targets is not None:
            self.check(targets)
        elif hasattr(data, "element_spec"):
            return self.watch_dataset(data)
        elif isinstance(data, utils.PyDataset):
            self.check_batch(data[0])
        elif inspect.isgenerator(data):
            return self.watch_generator(data)
        return data

    def weigh(self, targets, arguments):
        """The arguments of `fit` with sample weights instead of class weights."""
        weights = arguments["class_weight"]
        if targets is None or isinstance(targets, dict):
            raise InputError(
                "class_weight goes with masks that are one array; let a dataset give sample "
                "weights as its third part."
            )
        if arguments.get("sample_weight") is not None:
            raise InputError("Give class_weight or sample_weight, not both.")
        found = weigh_classes(targets, weights, self.classes)
        share = arguments.get("validation_split")
        if share and arguments.get("validation_data") is None:  # Keras validates on the last ones
            found[math.floor(len(found) * (1 - share)) :] = 1
        return {**arguments, "class_weight": None, "sample_weight": found}

    @contextmanager
    def telling(self, model):
        """Raise the InputError of the first batch instead of TensorFlow's; `model` stays whole."""
        # Keras on JAX takes the arrays out of a model while it trains, and lost them with the batch
        taken = ()
        if backend.backend() == "jax":
            optimizer = getattr(model, "optimizer", None)  # none before `compile`
            taken = [*model.variables, *getattr(optimizer, "variables", ())]
        values = [(variable, variable.value) for variable in taken]
        try:
            yield
        except Exception:
            if self.error is None:
                raise
            for variable, value in values:
                variable.assign(value)
            raise self.error from None

    def check_batch(self, batch):
        if isinstance(batch, (tuple, list)) and len(batch) > 1:
            self.check(batch[1])

    def watch_generator(self, batches):
        for number, batch in enumerate(batches):
            if not number:
                self.check_batch(batch)
            yield batch

    def watch_dataset(self, dataset):
        """A tf.data.Dataset whose first batch is looked at on its way."""
        import tensorflow as tf

        spec = dataset.element_spec
        if not isinstance(spec, tuple) or len(spec) < 2:
            return dataset
        seen = []

        def look(*targets):
            if not seen:
                seen.append(True)
                self.check(targets)

        def pass_on(*batch):
            with tf.control_dependencies([tf.numpy_function(look, tree.flatten(batch[1]), [])]):
                return tree.map_structure(tf.identity, batch)

        return dataset.map(pass_on)
