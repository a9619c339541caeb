"""Weights of the branches under the names of timm, torchvision and DeiT."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from transfuse_keras.backbones import VITS
from transfuse_keras.weights.assign import LEAVES, adapt_stem, assign, torch_name
from transfuse_keras.weights.efficientnet import as_timm
from transfuse_keras.weights.readers import read_tensors

log = logging.getLogger(__name__)


# variable path -> tensor name, for each family
RESNET = [  # and Res2Net
    (r"^layer(\d)_(\d+)_(downsample|convs|bns)_(\d)", r"layer\1/\2/\3/\4"),
    (r"^layer(\d)_(\d+)_", r"layer\1/\2/"),
]
RESNETV2 = [
    (r"^stem_conv", "stem/conv"),
    (r"^stages_(\d)_blocks_(\d+)_downsample_conv", r"stages/\1/blocks/\2/downsample/conv"),
    (r"^stages_(\d)_blocks_(\d+)_", r"stages/\1/blocks/\2/"),
]
EFFICIENTNET = [(r"^blocks_(\d+)_(\d+)_", r"blocks/\1/\2/")]
VGG = [(r"^features_(\d+)", r"features/\1")]
VIT = [
    (r"^patch_embed/positions", "pos_embed"),
    (r"^blocks_(\d+)/(fc\d)", r"blocks/\1/mlp/\2"),
    (r"^blocks_", "blocks/"),
]
# what a checkpoint holds and a branch does not: classifier with the norm before it, class token,
# the stages at stride 32 with what follows them
UNUSED = (
    r"^fc\.",
    r"^head\.",
    r"^(classifier|pre_logits)\.",
    r"^norm\.",
    r"^cls_token$",
    r"^layer4\.",
    r"^stages\.3\.",
    r"^blocks\.[56]\.\d+\.(conv|bn)",
    r"^conv_head\.",
    r"^bn2\.",
    r"num_batches_tracked$",
)


def timm_names(branch):
    """Tensor name -> variable, for every weight and statistic of a branch."""
    rules = [*LEAVES, *RESNET, *RESNETV2, *EFFICIENTNET, *VGG, *VIT]
    return {torch_name(variable.path, rules): variable for variable in branch.weights}


def load_timm(
    branch: keras.Model,
    source: str | Path | Mapping[str, np.ndarray],
    position_grid: tuple[int, int] | None = None,
    patches: bool = True,
    context: int = 0,
) -> None:
    """Load published ImageNet weights into a branch.

    Knows the CNNs and transformers of CNNS and VITS under timm's names; those of torchvision's
    ResNets and of DeiT's files are the same, those of `efficientnet_lite_pytorch` are translated.
    The classifier, the class token with its position,
    the stage at stride 32 and blocks past the branch's depth are passed over; position
    embeddings are resized (bilinear, align_corners) to the branch's token grid; the RGB stem is
    adapted to another number of channels (`adapt_stem`); both are logged.

    Args:
        branch: `model.cnn`, `model.vit`, or a model of `create_cnn` or `create_vit`.
        source: path of a weights file, or a mapping of names to arrays; see `read_tensors`.
        position_grid: (rows, columns) of the stored position embeddings; by default a square, as
            in all published weights, else the branch's own grid.
        patches: whether to load the projection of patches; a transformer on top of a CNN has
            another one, which then keeps its own weights. It is printed.
        context: of the task, where the branch sees several slices of a volume: the RGB stem
            becomes one over a slice and is inflated (`adapt_stem`).

    Raises: ValueError naming the tensors that are missing, unexpected or misshapen; the branch
    is then unchanged.

    Example:
        >>> import transfuse_keras as tk
        >>> from transfuse_keras.weights import official_state
        >>> model = tk.TransFuse("Ti", input_shape=(32, 32, 3))
        >>> tensors = {n.removeprefix("resnet."): x for n, x in official_state(model).items()}
        >>> cnn = {n: x for n, x in tensors.items() if n.startswith(("conv1", "bn1", "layer"))}
        >>> tk.load_timm(model.cnn, cnn)  # or a file such as "resnet18-f37072fd.pth"
    """
    variables, tensors = timm_names(branch), as_timm(read_tensors(source))
    if not patches:
        own = [name for name in variables if name.startswith("patch_embed.proj.")]
        variables = {name: x for name, x in variables.items() if name not in own}
        tensors = {name: x for name, x in tensors.items() if name not in own}
        if own:
            log.info("The transformer is on top of the CNN: its patch embedding keeps its weights.")
    depth = sum(name.endswith("attn.qkv.weight") for name in variables)
    deepest = max(spec["depth"] for spec in VITS.values())
    skipped = [rf"^blocks\.{i}\." for i in range(depth, deepest)] if depth else []
    if "cls_token" in tensors and "pos_embed" in tensors and tensors["pos_embed"].ndim == 3:
        tensors = {**tensors, "pos_embed": tensors["pos_embed"][:, 1:]}
    if position_grid is None and "pos_embed" in tensors and tensors["pos_embed"].ndim == 3:
        side = math.isqrt(tensors["pos_embed"].shape[1])
        position_grid = (side, side) if side**2 == tensors["pos_embed"].shape[1] else None
    if context:  # for one slice of three channels they are RGB's; for three slices of one they fit
        tensors = {name: as_slice(variables.get(name), x, context) for name, x in tensors.items()}
    assign(variables, tensors, (*UNUSED, *skipped), source, position_grid, context)


def as_slice(variable, tensor, context):
    """The RGB stem of a branch as one over the channels of one slice; all else as it is."""
    if variable is None or tensor.ndim != 4 or tensor.shape[1] != 3:
        return tensor
    channels = variable.shape[2] // (2 * context + 1)
    return tensor if channels == 3 else adapt_stem(tensor, channels)
