"""The authors' checkpoints (github.com/Rayicer/TransFuse) under our names."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from transfuse_keras.weights.assign import LEAVES, assign, name_source, torch_layout, torch_name
from transfuse_keras.weights.readers import GRID_KEY, read_grid, read_tensors
from transfuse_keras.weights.timm import timm_names

log = logging.getLogger(__name__)


# variable path -> the authors' tensor name, for all but the branches
DECODER = [
    *LEAVES,
    (r"^pup_decoder/(up\d)", r"\1/conv"),
    (r"^bifusion_16", "up_c"),
    (r"^bifusion_8", "up_c_1_1"),
    (r"^bifusion_4", "up_c_2_1"),
    (r"^decoder_8", "up_c_1_2"),
    (r"^decoder_4", "up_c_2_2"),
    (r"^fusion_head/classify", "final_x/2/conv"),
    (r"^fusion_head/hidden", "final_x/"),
    (r"^transformer_head/classify", "final_1/1/conv"),
    (r"^transformer_head/hidden", "final_1/"),
    (r"^mask_head/classify", "final_2/1/conv"),
    (r"^mask_head/hidden", "final_2/"),
    # BiFusion
    (r"/(spatial|channel)_attention/", "/"),
    (r"/project_g/", "/W_g/"),
    (r"/project_t/", "/W_x/"),
    (r"/product/", "/W/"),
    (r"/residual/(conv\d)/", r"/residual/\1/conv/"),
    (r"/residual/skip/", "/residual/skip_layer/conv/"),
    # the gate and UpBlock, whose parts the authors number
    (r"/gate/", "/attn_block/"),
    (r"/project_gating/", "/W_g/"),
    (r"/project_x/", "/W_x/"),
    (r"/attn_block/(\w+)/conv/", r"/attn_block/\1/0/"),
    (r"/attn_block/(\w+)/bn/", r"/attn_block/\1/1/"),
    (r"/conv/conv1/conv/", "/conv/double_conv/0/"),
    (r"/conv/conv1/bn/", "/conv/double_conv/1/"),
    (r"/conv/conv2/conv/", "/conv/double_conv/3/"),
    (r"/conv/conv2/bn/", "/conv/double_conv/4/"),
    (r"/conv/identity/conv/", "/conv/identity/0/"),
    (r"/conv/identity/bn/", "/conv/identity/1/"),
]
HEADS = r"^final_"
CLASSES = "final_2.1.conv.bias"  # one entry per class
UNUSED = (r"^transformer\.cls_token$", r"num_batches_tracked$")


def official_names(model):
    """The authors' tensor name -> variable, for every weight and statistic of a TransFuse."""
    names = {}
    layers = {layer.name: layer for layer in model.layers}
    for prefix, branch in (("resnet.", "cnn"), ("transformer.", "vit")):
        if branch in layers:
            tensors = timm_names(layers[branch])
            names |= {prefix + name: variable for name, variable in tensors.items()}
    branches = {id(variable) for variable in names.values()}
    decoder = [variable for variable in model.weights if id(variable) not in branches]
    return names | {torch_name(variable.path, DECODER): variable for variable in decoder}


def official_state(model):
    """A TransFuse as the state_dict of the authors' code.

    Returns: dict of tensor name to NumPy array, float32, in PyTorch's layout. The class token,
    which their code stores and never uses, is zero, and so are the int64 batch counters.
    """
    state = {
        name: torch_layout(name, keras.ops.convert_to_numpy(variable).astype("float32"))
        for name, variable in official_names(model).items()
    }
    if "transformer.pos_embed" in state:
        dim = state["transformer.pos_embed"].shape[-1]
        state["transformer.cls_token"] = np.zeros((1, 1, dim), "float32")
    norms = [name for name in state if name.endswith("running_var")]
    counters = [name.replace("running_var", "num_batches_tracked") for name in norms]
    return state | dict.fromkeys(counters, np.zeros((), "int64"))


def official_metadata(model):
    """What the authors' state_dict leaves open, as text by name: the grid of the positions."""
    positions = official_names(model).get("transformer.pos_embed")
    return {} if positions is None else {GRID_KEY: "x".join(map(str, positions.shape[1:3]))}


def load_official(
    model: keras.Model,
    source: str | Path | Mapping[str, np.ndarray],
    skip_heads: bool = False,
    position_grid: tuple[int, int] | None = None,
    context: int = 0,
) -> None:
    """Load an authors' checkpoint into a TransFuse of the same variant.

    Position embeddings are resized (bilinear, align_corners) when the checkpoint was made for
    another input size, and the stems of both branches are adapted when it was made for RGB and
    the model takes another number of channels (`adapt_stem`); both are logged.
    `transformer.cls_token`, which the authors store but never use, and `num_batches_tracked`
    are passed over.

    Args:
        model: TransFuse.
        source: path of a weights file, or a mapping of names to arrays; see `read_tensors`.
        skip_heads: leave the three heads as they are, to fine-tune for other classes; prints
            that it does.
        position_grid: (rows, columns) of the stored position embeddings; by default what the
            file says of itself, else the model's own grid where it has as many, else 12x16 for
            192 and 24x32 for 768 as in the authors' files, else a square.
        context: of the task, where the model sees several slices of a volume: stems that were made
            for one slice, or for RGB, are inflated (`adapt_stem`). Those that take as many channels
            as the model are taken as they are.

    Raises: ValueError naming the tensors that are missing, unexpected or misshapen; the model
    is then unchanged.

    Example:
        >>> import transfuse_keras as tk
        >>> from transfuse_keras.weights import official_state
        >>> model = tk.TransFuse("Ti", input_shape=(32, 32, 3))
        >>> checkpoint = official_state(model)  # in place of a file such as "TransFuse.pth"
        >>> tk.load_official(model, checkpoint)
    """
    variables, tensors = official_names(model), read_tensors(source)
    ignored: tuple[str, ...] = UNUSED
    if skip_heads:
        variables = {n: v for n, v in variables.items() if not re.match(HEADS, n)}
        ignored = (*UNUSED, HEADS)
    elif CLASSES in tensors and tensors[CLASSES].size != model.classes:
        raise ValueError(
            f"{name_source(source)}weights for {tensors[CLASSES].size} classes do not fit a "
            f"model of {model.classes}; skip_heads=True (--skip-heads) loads all but the heads."
        )
    assign(variables, tensors, ignored, source, position_grid or read_grid(source), context)
    if skip_heads:
        log.info("The three segmentation heads keep their own weights (skip_heads=True).")
