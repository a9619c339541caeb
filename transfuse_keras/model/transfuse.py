"""TransFuse (Zhang, Liu, Hu: MICCAI 2021) as a Keras model; graph.py is its Fig. 1."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from transfuse_keras.backbones import as_pyramid
from transfuse_keras.backbones.vit import PATCH_SIZE
from transfuse_keras.data.normalization import (
    adapt_normalization,
    check_colour,
    check_normalization,
)
from transfuse_keras.devices import has_processes, replicas, resolve_jit
from transfuse_keras.layers import WhiteBalance
from transfuse_keras.layers.exchange import averaged_over_processes
from transfuse_keras.model.graph import (
    check_shape,
    check_size,
    connect_branches,
    create_blocks,
)
from transfuse_keras.model.initial_weights import load_weights
from transfuse_keras.model.kept_layers import describe_layers, restore_layers
from transfuse_keras.model.losses import StructureLoss
from transfuse_keras.model.multiscale import Sizes, model_for, train_steps
from transfuse_keras.model.preset import load_preset, save_preset
from transfuse_keras.model.targets import FirstBatch, as_masks, check_images
from transfuse_keras.model.variants import Variant, resolve_variant
from transfuse_keras.weights import find_normalization

# The authors' code weighs the heads so. The paper's text, read literally, swaps the last two
# (beta = 0.3 on f0, gamma = 0.2 on t2): pass loss_weights to compile for that.
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
        white_balance: the mean of image / 255, one value per channel, that the graph gives every
            image before it predicts, see `WhiteBalance`; for training `dataset` gives it, with
            `white_balance=model.white_balance`. None: images stay as they are, as in the paper.

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
    _checks = False  # whether targets are those of StructureLoss, which are checked

    def __init__(
        self,
        variant: str | Variant = "S",
        input_shape: tuple[int, int, int] = (192, 256, 3),
        classes: int = 1,
        weights: str | Path | None = None,
        dropout: float = 0.2,
        position_grid: tuple[int, int] | None = None,
        cnn: keras.Model | None = None,
        normalization: tuple[Sequence[float], Sequence[float]] | None = None,
        white_balance: Sequence[float] | None = None,
        name: str = "transfuse",
        _blocks: dict[str, keras.layers.Layer] | None = None,
    ) -> None:
        spec = resolve_variant(variant)
        if isinstance(spec.cnn, keras.Model):
            cnn = cnn or spec.cnn
            variant = spec = replace(spec, cnn=spec.cnn.name)
        if cnn is not None and spec.cnn is None:
            raise ValueError("cnn= replaces the CNN of a variant, and this one has none.")
        height, width, channels = check_shape(input_shape)
        if not isinstance(classes, (int, np.integer)) or not 0 < classes <= MOST_CLASSES:
            raise ValueError(f"classes must be from 1 to {MOST_CLASSES}, not {classes!r}.")
        position_grid = position_grid or (height // PATCH_SIZE, width // PATCH_SIZE)
        position_grid = check_size("position_grid", position_grid)
        check_shape((*(PATCH_SIZE * side for side in position_grid), 1))
        if isinstance(cnn, dict):
            cnn = keras.saving.deserialize_keras_object(cnn)
        cnn = cnn and as_pyramid(cnn)
        blocks = _blocks or create_blocks(spec, cnn, input_shape, classes, dropout, position_grid)
        image = keras.Input(input_shape, name="image")
        published = find_normalization(spec.cnn if cnn is None else None, spec.vit)
        if normalization is not None:
            check_normalization(normalization, channels)
        seen = image
        if white_balance is not None:
            white_balance = check_colour(white_balance, channels)
            own = normalization or adapt_normalization(published, channels)
            seen = WhiteBalance(white_balance, *own, name="white_balance")(image)
        super().__init__(image, connect_branches(blocks, seen), name=name)
        self.variant = variant if isinstance(variant, str) else spec
        self.classes = classes
        self.dropout = dropout
        self.position_grid = position_grid
        self.cnn_config = cnn and keras.saving.serialize_keras_object(cnn)
        self.own_normalization = normalization
        self.white_balance = white_balance
        self._normalization = published
        if weights is not None:
            load_weights(self, weights)

    @classmethod
    def from_preset(cls, preset: str | Path) -> "TransFuse":
        """A trained TransFuse, or `UNet`, from a preset on the Hugging Face hub or in a folder.

        No code is run that the preset brings along, as of `load_model`. HF_ENDPOINT and HF_TOKEN
        work as for every Hugging Face tool; what was fetched is kept in their cache.

        Args:
            preset: "hf://user/model", or a folder as `save_to_preset` writes it.

        Raises: InputError if there is none, it cannot be fetched, is damaged or of another model.

        Example:
            >>> import transfuse_keras as tk
            >>> tk.TransFuse("Ti", input_shape=(32, 32, 3), classes=2).save_to_preset("preset")
            >>> tk.TransFuse.from_preset("preset").classes
            2
        """
        return load_preset(preset)

    def save_to_preset(self, folder: str | Path) -> None:
        """Write a preset: config.json, metadata.json and model.weights.h5, as Keras and keras-hub
        lay it out, without the state of the optimiser.

        Args:
            folder: a new folder, or one that holds a preset, which is replaced as a whole.

        Raises: InputError if the folder holds anything else.
        """
        save_preset(self, folder)

    @property
    def cnn(self) -> keras.Model:
        """The CNN branch, a keras.Model to maps at strides [4, 8, 16]."""
        return self.get_layer("cnn")

    @property
    def vit(self) -> keras.Model:
        """The transformer branch up to its final LayerNorm, a keras.Model to tokens."""
        return self.get_layer("vit")

    @property
    def normalization(self) -> tuple[Sequence[float], Sequence[float]]:
        """(mean, std) of image / 255, one value per channel.

        The RGB values that the branches' published weights expect; any other number of channels
        takes their average. What was given to the constructor goes before.
        """
        if self.own_normalization is not None:
            return self.own_normalization
        return adapt_normalization(self._normalization, self.input_shape[-1])

    @cached_property
    def mask_model(self) -> keras.Model:
        """The graph from the image to the `mask` logits alone: what inference runs."""
        model = keras.Model(self.input, self.output["mask"], name=self.name)
        model.jit_compile = resolve_jit("auto")
        return model

    def quantize(self, *args: Any, **kwargs: Any) -> None:
        """As `keras.Model.quantize`."""
        super().quantize(*args, **kwargs)
        self.__dict__.pop("mask_model", None)  # compiled, it would go on as it was

    def resized(self, size: tuple[int, int]) -> "TransFuse":
        """The same model for images of another size, sharing every variable.

        Position embeddings are resized inside the graph from the one stored grid.

        Args:
            size: (height, width), multiples of 16.

        Returns: TransFuse; training either model trains both.
        """
        image_shape = check_shape((*check_size("size", size), self.input_shape[-1]))
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
        config = {**self.get_config(), "input_shape": image_shape}
        for kept in ("frozen", "quantized"):  # its layers are those of this model
            config.pop(kept, None)
        return TransFuse(**config, _blocks=blocks)

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "adam",
        loss: Any = None,
        loss_weights: Sequence[float] | dict[str, float] | None = None,
        metrics: Any = None,
        jit_compile: bool | str = "auto",
        scales: Sequence[float] | None = None,
        weighted_metrics: Any = None,
        **kwargs: Any,
    ) -> None:
        """As `keras.Model.compile`, with the paper's training as the default.

        Args:
            optimizer: as in Keras.
            loss: by default StructureLoss on each of the three heads.
            loss_weights: by default 0.5 mask, 0.3 transformer, 0.2 fusion, if `loss` is not given.
                A list is in that order, as is one of losses; a dict names the heads.
            metrics, weighted_metrics: a list is measured on the `mask` head. For others give a
                dict, or a list of lists in the order mask, transformer, fusion.
            jit_compile: "auto" uses XLA except for TensorFlow on the CPU, where a step takes
                longer with it and compiling takes twice as long.
            scales: sizes, relative to the model's, at which `fit` trains every batch in turn, an
                optimiser step each; (0.75, 1, 1.25) on polyps. By default only its own size.
            **kwargs: further arguments of `keras.Model.compile`.
        """
        own_loss = loss is None
        if own_loss:
            loss = {head: StructureLoss() for head in self.output}
            if loss_weights is None:
                loss_weights = {head: LOSS_WEIGHTS[head] for head in self.output}
        loss, loss_weights = self.by_head(loss), self.by_head(loss_weights)
        if isinstance(loss_weights, dict) and not isinstance(loss, dict):
            loss = dict.fromkeys(loss_weights, loss)
        self._checks = all(isinstance(x, StructureLoss) for x in keras.tree.flatten(loss))
        self._sizes = None if scales is None else Sizes(self, scales)
        super().compile(
            optimizer,
            loss=loss,
            loss_weights=loss_weights,
            metrics=self.on_mask(metrics),
            weighted_metrics=self.on_mask(weighted_metrics),
            jit_compile=resolve_jit(jit_compile),
            **kwargs,
        )
        if own_loss and replicas() == 1:
            self.create_state()

    def by_head(self, given: Any) -> Any:
        """A list with an entry for each head, in their documented order, as a dict: Keras would
        take it in the order of the alphabet."""
        if not isinstance(given, (list, tuple)):
            return given
        heads = [head for head in LOSS_WEIGHTS if head in self.output]
        if len(given) != len(heads):
            raise ValueError(f"Give one for each of the heads {', '.join(heads)}, not {given}.")
        return dict(zip(heads, given, strict=True))

    def on_mask(self, metrics: Any) -> Any:
        """A list of metrics as those of the mask; one of lists as those of each head."""
        if not isinstance(metrics, (list, tuple)):
            return metrics
        nested = any(isinstance(x, (list, tuple, dict)) for x in metrics)
        return self.by_head(metrics) if nested else {"mask": list(metrics)}

    def create_state(self) -> None:
        """Create the variables of the losses, the metrics and the optimiser.

        TensorFlow traces a step again that creates them, and keeps both graphs: 400 MB for S.
        """
        maps = keras.ops.zeros((1, *self.output["mask"].shape[1:]))
        outputs = dict.fromkeys(self.output, maps)
        self.compute_loss(None, maps, outputs)
        self.compute_metrics(None, maps, outputs)
        self.reset_metrics()
        self.build_optimizer()

    def build_optimizer(self) -> None:
        """Create the optimiser's variables; Keras' LossScaleOptimizer would do so every time."""
        if not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)

    def get_compile_config(self) -> dict[str, Any]:
        config = super().get_compile_config()
        return {**config, "scales": self._sizes.scales} if config and self._sizes else config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.build_optimizer()

    def train_step(self, *arguments: Any) -> Any:
        if self._sizes is None:
            return super().train_step(*arguments)
        *state, batch = arguments
        images, targets, weights = keras.utils.unpack_x_y_sample_weight(batch)
        batch = images, self.as_masks(targets), weights
        return train_steps(super().train_step, self._sizes, *state, batch)

    # TensorFlow's training calls the model, which checks the size; JAX's calls `call`.
    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        model = model_for(self, self._sizes, inputs, kwargs.get("training"))
        call = super().__call__ if model is self else model
        return call(inputs, *args, **kwargs)

    def call(self, inputs: Any, training: bool | None = None, **kwargs: Any) -> dict[str, Any]:
        model = model_for(self, self._sizes, inputs, training)
        call = super().call if model is self else model.call
        return call(inputs, training=training, **kwargs)

    def fit(
        self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any
    ) -> keras.callbacks.History:
        """As `keras.Model.fit`; y is masks (N, H, W, M) of 0/1 or, where a pixel is of one class,
        label maps (N, H, W) or (N, H, W, 1): 0 is background, label k is class k - 1.

        `sample_weight` of (N,) weighs images, of (N, H, W) pixels, see StructureLoss;
        `class_weight` gives pixels of background (0) and of class k - 1 (k) their weight.

        Raises: InputError if the masks, or those of the first batch of a dataset, have another
        shape or other values, or if an array of images is not normalised.
        """
        x, y, kwargs, first = self.prepare(x, y, kwargs)
        validation = kwargs.get("validation_data")
        if isinstance(validation, (tuple, list)) and self._checks:
            check_images(validation[0], self.normalization)
            first.check(validation[1])
        elif validation is not None and self._checks:
            kwargs["validation_data"] = first.watch(validation)
        with first.telling(self):
            return super().fit(x, y, *args, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.evaluate`; y and errors as of `fit`."""
        if kwargs.get("_use_cached_eval_dataset"):  # by `fit`, which has checked it
            return super().evaluate(x, y, *args, **kwargs)
        x, y, kwargs, first = self.prepare(x, y, kwargs)
        with first.telling(self):
            return super().evaluate(x, y, *args, **kwargs)

    def train_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.train_on_batch`; y, weights and errors as of `fit`."""
        x, y, kwargs, _ = self.prepare(x, y, kwargs)
        return super().train_on_batch(x, y, *args, **kwargs)

    def test_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.test_on_batch`; y and errors as of `fit`."""
        x, y, kwargs, _ = self.prepare(x, y, kwargs)
        return super().test_on_batch(x, y, *args, **kwargs)

    def prepare(
        self, x: Any, y: Any, kwargs: dict[str, Any]
    ) -> tuple[Any, Any, dict[str, Any], FirstBatch]:
        """The arguments of `fit` with targets that are checked and class weights of pixels."""
        first = FirstBatch(self.classes, self.input_shape[1:3])
        if not self._checks:
            return x, y, kwargs, first
        if y is not None:
            check_images(x, self.normalization)
        x = first.watch(x, y)
        if getattr(y, "ndim", 0) == 3:  # Keras' graph takes one number of dimensions
            y = y[..., None]
        if kwargs.get("class_weight") is not None:
            kwargs = first.weigh(y, kwargs)
        return x, y, kwargs, first

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        y = self.share_target(y, y_pred)
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        return super().compute_metrics(x, self.share_target(y, y_pred), y_pred, sample_weight)

    def get_metrics_result(self) -> dict[str, Any]:
        # all metrics are ratios of sums over images, which the processes have each of their own
        if not has_processes():
            return super().get_metrics_result()
        with averaged_over_processes(self.metrics_variables):
            return super().get_metrics_result()

    def share_target(self, target: Any, outputs: dict[str, Any]) -> dict[str, Any]:
        """The same masks as the target of every head, unless targets are given per head."""
        target = self.as_masks(target)
        return target if isinstance(target, dict) else dict.fromkeys(outputs, target)

    def as_masks(self, targets: Any) -> Any:
        """Targets of StructureLoss of which label maps are masks."""
        if targets is None or not self._checks:
            return targets
        return keras.tree.map_structure(lambda x: as_masks(x, self.classes), targets)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "TransFuse":
        config = dict(config)
        kept = {name: config.pop(name) for name in ("frozen", "quantized") if name in config}
        model = cls(**config)
        restore_layers(model, **kept)
        return model

    def get_config(self) -> dict[str, Any]:
        variant = self.variant if isinstance(self.variant, str) else asdict(self.variant)
        return {
            **describe_layers(self),
            "variant": variant,
            "input_shape": self.input_shape[1:],
            "classes": self.classes,
            "weights": None,  # a saved model brings its own
            "dropout": self.dropout,
            "position_grid": self.position_grid,
            "cnn": self.cnn_config,
            "normalization": self.own_normalization,
            "white_balance": self.white_balance,
            "name": self.name,
        }
