"""TransFuse (Zhang, Liu, Hu: MICCAI 2021) as a Keras model; graph.py is its Fig. 1."""

from dataclasses import asdict, replace
from functools import cached_property

import keras

from transfuse_keras.backbones import as_pyramid
from transfuse_keras.backbones.vit import PATCH_SIZE
from transfuse_keras.devices import replicas, resolve_jit
from transfuse_keras.model.graph import check_shape, connect, create_blocks
from transfuse_keras.model.initial_weights import load_weights
from transfuse_keras.model.losses import StructureLoss
from transfuse_keras.model.multiscale import Sizes, model_for, train_steps
from transfuse_keras.model.variants import resolve_variant
from transfuse_keras.weights import find_normalization

# The authors' code weighs the heads so. The paper's text, read literally, swaps the last two
# (beta = .3 on f0, gamma = .2 on t2): pass loss_weights to compile for that.
LOSS_WEIGHTS = {"mask": 0.5, "transformer": 0.3, "fusion": 0.2}

MOST_CLASSES = 1024


@keras.saving.register_keras_serializable("transfuse_keras")
class TransFuse(keras.Model):
    """CNN and transformer in parallel, fused at strides 16, 8 and 4.

    Args:
        variant: a key of VARIANTS, which ":" and a key of ABLATIONS may follow, or a Variant.
        input_shape: (H, W, C); H and W multiples of 16.
        classes: number M of maps. They are independent: a sigmoid each, no softmax.
        weights: None (random), "imagenet" (both branches, downloaded), or the path of a weights
            file, own or the authors'; see `load_weights`.
        dropout: rate of the channel-wise dropout on every map before fusion; half of it
            follows each BiFusion (authors: 0.2).
        position_grid: (rows, columns) for which position embeddings are stored, by default
            the token grid of `input_shape`; see `resized`.
        cnn: a CNN branch of your own instead of the variant's: a functional keras.Model with
            outputs at strides 4, 8 and 16, or a keras-hub backbone. Its layers are shared, not
            copied, and it gets images normalised with `normalization`.
        normalization: (mean, std) of image / 255, one value per channel, instead of what the
            branches' published weights expect.

    Call: images (B, H, W, C), float32, RGB / 255 normalised with `normalization` ->
    {"mask", "transformer", "fusion"}: float32 logits (B, H, W, M); of a variant whose branches are
    not in parallel "mask" alone.

    Raises: ValueError for an unknown variant, an unusable shape, CNN or weights file, or branches
    whose published weights expect different normalisation.

    Example:
        >>> import transfuse_keras as tk
        >>> model = tk.TransFuse("Ti", input_shape=(32, 32, 3), classes=2)
        >>> model.output["mask"].shape
        (None, 32, 32, 2)
    """

    _sizes = None  # at which `fit` trains, if at several

    def __init__(
        self,
        variant="S",
        input_shape=(192, 256, 3),
        classes=1,
        weights=None,
        dropout=0.2,
        position_grid=None,
        cnn=None,
        normalization=None,
        name="transfuse",
        _blocks=None,
    ):
        spec = resolve_variant(variant)
        if isinstance(spec.cnn, keras.Model):
            cnn = cnn or spec.cnn
            variant = spec = replace(spec, cnn=spec.cnn.name)
        if cnn is not None and spec.cnn is None:
            raise ValueError("cnn= replaces the CNN of a variant, and this one has none.")
        height, width, _ = check_shape(input_shape)
        if not 0 < classes <= MOST_CLASSES:
            raise ValueError(f"classes must be from 1 to {MOST_CLASSES}, not {classes}.")
        position_grid = tuple(position_grid or (height // PATCH_SIZE, width // PATCH_SIZE))
        check_shape((*(PATCH_SIZE * side for side in position_grid), 1))
        if isinstance(cnn, dict):
            cnn = keras.saving.deserialize_keras_object(cnn)
        cnn = cnn and as_pyramid(cnn)
        blocks = _blocks or create_blocks(spec, cnn, input_shape, classes, dropout, position_grid)
        image = keras.Input(input_shape, name="image")
        super().__init__(image, connect(blocks, image), name=name)
        self.variant = variant if isinstance(variant, str) else spec
        self.classes = classes
        self.dropout = dropout
        self.position_grid = position_grid
        self.cnn_config = cnn and keras.saving.serialize_keras_object(cnn)
        self.own_normalization = normalization
        self._normalization = find_normalization(spec.cnn if cnn is None else None, spec.vit)
        if weights is not None:
            load_weights(self, weights)

    @property
    def cnn(self):
        """The CNN branch, a keras.Model to maps at strides [4, 8, 16]."""
        return self.get_layer("cnn")

    @property
    def vit(self):
        """The transformer branch up to its final LayerNorm, a keras.Model to tokens."""
        return self.get_layer("vit")

    @property
    def normalization(self):
        """(mean, std) of image / 255, one value per channel.

        The RGB values that the branches' published weights expect; any other number of channels
        takes their average. What was given to the constructor goes before.
        """
        if self.own_normalization is not None:
            return self.own_normalization
        (mean, std), channels = self._normalization, self.input_shape[-1]
        if channels == 3:
            return mean, std
        return (sum(mean) / 3,) * channels, (sum(std) / 3,) * channels

    @cached_property
    def mask_model(self):
        """The graph from the image to the `mask` logits alone: what inference runs."""
        model = keras.Model(self.input, self.output["mask"], name=self.name)
        model.jit_compile = resolve_jit("auto")
        return model

    def resized(self, size):
        """The same model for images of another size, sharing every variable.

        Position embeddings are resized inside the graph from the one stored grid.

        Args:
            size: (height, width), multiples of 16.

        Returns: TransFuse; training either model trains both.
        """
        image_shape = (*size, self.input_shape[-1])
        check_shape(image_shape)
        blocks = {layer.name: layer for layer in self.layers}
        for name in sorted({"cnn", "vit"} & set(blocks)):
            _, *seen, channels = blocks[name].input_shape
            strides = (own // side for own, side in zip(self.input_shape[1:3], seen, strict=True))
            shape = (*(side // s for side, s in zip(size, strides, strict=True)), channels)
            blocks[name] = keras.models.clone_model(
                blocks[name],
                input_tensors=keras.Input(shape),
                clone_function=lambda layer: layer,
            )
        return TransFuse(**{**self.get_config(), "input_shape": image_shape}, _blocks=blocks)

    def compile(
        self,
        optimizer="adam",
        loss=None,
        loss_weights=None,
        metrics=None,
        jit_compile="auto",
        scales=None,
        **kwargs,
    ):
        """As `keras.Model.compile`, with the paper's training as the default.

        Args:
            optimizer: as in Keras.
            loss: by default StructureLoss on each of the three heads.
            loss_weights: by default .5 mask, .3 transformer, .2 fusion, if `loss` is not given.
            metrics: as in Keras; a list that does not hold one entry per head is measured on
                the `mask` head.
            jit_compile: "auto" uses XLA except for TensorFlow on the CPU, where a step takes
                longer with it and compiling takes twice as long.
            scales: sizes, relative to the model's, at which `fit` trains every batch in turn, an
                optimiser step each; (0.75, 1, 1.25) on polyps. By default only its own size.
            **kwargs: further arguments of `keras.Model.compile`.
        """
        own_loss = loss is None
        if own_loss:
            loss = {head: StructureLoss() for head in self.output}
            loss_weights = loss_weights or {head: LOSS_WEIGHTS[head] for head in self.output}
        if isinstance(metrics, (list, tuple)) and len(metrics) != len(self.output):
            metrics = {"mask": list(metrics)}
        self._sizes = None if scales is None else Sizes(self, scales)
        super().compile(
            optimizer,
            loss=loss,
            loss_weights=loss_weights,
            metrics=metrics,
            jit_compile=resolve_jit(jit_compile),
            **kwargs,
        )
        if own_loss and replicas() == 1:
            self.create_state()

    def create_state(self):
        """Create the variables of the losses, the metrics and the optimiser.

        TensorFlow traces a step again that creates them, and keeps both graphs: 400 MB for S.
        """
        maps = keras.ops.zeros((1, *self.output["mask"].shape[1:]))
        outputs = dict.fromkeys(self.output, maps)
        self.compute_loss(None, maps, outputs)
        self.compute_metrics(None, maps, outputs)
        self.reset_metrics()
        self.build_optimizer()

    def build_optimizer(self):
        """Create the optimiser's variables; Keras' LossScaleOptimizer would do so every time."""
        if not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)

    def get_compile_config(self):
        config = super().get_compile_config()
        return {**config, "scales": self._sizes.scales} if config and self._sizes else config

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.build_optimizer()

    def train_step(self, *arguments):
        if self._sizes is None:
            return super().train_step(*arguments)
        return train_steps(super().train_step, self._sizes, *arguments)

    # TensorFlow's training calls the model, which checks the size; JAX's calls `call`.
    def __call__(self, inputs, *args, **kwargs):
        model = model_for(self, self._sizes, inputs, kwargs.get("training"))
        call = super().__call__ if model is self else model
        return call(inputs, *args, **kwargs)

    def call(self, inputs, training=None, **kwargs):
        model = model_for(self, self._sizes, inputs, training)
        call = super().call if model is self else model.call
        return call(inputs, training=training, **kwargs)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return super().compute_loss(x, share_target(y, y_pred), y_pred, sample_weight, training)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return super().compute_metrics(x, share_target(y, y_pred), y_pred, sample_weight)

    def get_config(self):
        variant = self.variant if isinstance(self.variant, str) else asdict(self.variant)
        return {
            "variant": variant,
            "input_shape": self.input_shape[1:],
            "classes": self.classes,
            "weights": None,  # a saved model brings its own
            "dropout": self.dropout,
            "position_grid": self.position_grid,
            "cnn": self.cnn_config,
            "normalization": self.own_normalization,
            "name": self.name,
        }


def share_target(mask, outputs):
    """The same mask as the target of every head, unless targets are given per head."""
    return mask if isinstance(mask, dict) else dict.fromkeys(outputs, mask)
