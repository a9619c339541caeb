"""Files of weights as plain mappings from tensor name to array."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np


def read_tensors(source):
    """All tensors of a checkpoint, in PyTorch's layout.

    Checkpoints wrapped as {"model": ...} or {"state_dict": ...} are unwrapped, and the prefix
    "module." of data-parallel training is taken off.

    Args:
        source: path of an `.npz`, `.safetensors`, `.pth` or `.pt` file, or a mapping of tensor
            names to arrays. PyTorch files need torch, and only plain tensors in them are read:
            one that would run code is refused.

    Returns: dict of tensor name to NumPy array.

    Raises: ValueError if the file is missing, damaged or of another kind.
    """
    tensors = source if isinstance(source, Mapping) else read_file(Path(source))
    for key in ("model", "state_dict"):
        if isinstance(tensors.get(key), Mapping):
            tensors = tensors[key]
    return {name.removeprefix("module."): np.asarray(value) for name, value in tensors.items()}


def read_file(path):
    """The content of a weights file as a mapping; ValueError if it cannot be read."""
    if path.suffix not in READERS:
        known = ", ".join(READERS)
        raise ValueError(f"{path}: cannot read weights from '{path.suffix}'; give one of {known}.")
    if not path.is_file():
        raise ValueError(f"{path}: no such weights file.")
    try:
        return READERS[path.suffix](path)
    except ImportError as error:
        raise ValueError(f"{path}: reading it needs PyTorch; pip install torch.") from error
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path}: damaged or not a {path.suffix} file ({reason}).") from error


def read_npz(path):
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def read_safetensors(path):
    from safetensors.numpy import load_file

    return load_file(path)


def read_torch(path):
    import torch

    return torch.load(path, map_location="cpu", weights_only=True)


READERS = {
    ".npz": read_npz,
    ".safetensors": read_safetensors,
    ".pth": read_torch,
    ".pt": read_torch,
}
