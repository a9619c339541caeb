"""Files of weights as plain mappings from tensor name to array."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from transfuse_keras.errors import first_line
from transfuse_keras.weights.pytorch_files import read_torch

GRID_KEY = "position_grid"  # in the metadata of a .safetensors file: rows x columns, as "12x16"
LARGEST_WEIGHTS = 2**32  # bytes, several times the largest model: what unpacks to more is refused


def read_tensors(source):
    """All tensors of a checkpoint, in PyTorch's layout.

    Checkpoints wrapped as {"model": ...} or {"state_dict": ...} are unwrapped, and the prefix
    "module." of data-parallel training is taken off.

    Args:
        source: path of an `.npz`, `.safetensors`, `.pth` or `.pt` file, or a mapping of tensor
            names to arrays. Of PyTorch's files only plain tensors are read, without PyTorch: one
            that would run code is refused.

    Returns: dict of tensor name to NumPy array.

    Raises: ValueError if the file is missing, damaged or of another kind.
    """
    return as_arrays(source) if isinstance(source, Mapping) else read_file(Path(source))


def as_arrays(tensors):
    """The tensors of a checkpoint as arrays of numbers, unwrapped; see `read_tensors`."""
    if not isinstance(tensors, Mapping):
        raise ValueError(f"it holds a {type(tensors).__name__}, not tensors by name")
    for key in ("model", "state_dict"):
        if isinstance(tensors.get(key), Mapping):
            tensors = tensors[key]
    arrays = {str(name).removeprefix("module."): np.asarray(x) for name, x in tensors.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
            raise ValueError(f"{name} is of {array.dtype}, not of numbers")
    # a tensor may show one number many times, and is as large as it claims once it is copied
    if sum(array.nbytes for array in arrays.values()) > LARGEST_WEIGHTS:
        raise ValueError(f"its tensors take more than {LARGEST_WEIGHTS >> 30} GiB")
    return arrays


def read_file(path):
    """The tensors of a weights file; ValueError if it cannot be read."""
    if path.suffix not in READERS:
        known = ", ".join(READERS)
        raise ValueError(f"{path}: cannot read weights from '{path.suffix}'; give one of {known}.")
    if not path.is_file():
        raise ValueError(f"{path}: no such weights file.")
    try:
        refuse_zip_bomb(path)
        return as_arrays(READERS[path.suffix](path))
    except Exception as error:
        reason = first_line(error)
        raise ValueError(f"{path}: damaged or not a {path.suffix} file ({reason}).") from error


def refuse_zip_bomb(path):
    """Raise ValueError if a file is a zip archive that unpacks to more than LARGEST_WEIGHTS."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > LARGEST_WEIGHTS:
            raise ValueError(f"it unpacks to more than {LARGEST_WEIGHTS >> 30} GiB")


def read_npz(path):
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def read_safetensors(path):
    from safetensors.numpy import load_file

    return load_file(path)


def read_grid(source):
    """(rows, columns) of the position embeddings in a `.safetensors` file, as its metadata says.

    Returns: None where it says nothing, and for any other source of weights.

    Raises: ValueError if it says something that is no grid.
    """
    if isinstance(source, Mapping) or Path(source).suffix != ".safetensors":
        return None
    from safetensors import safe_open

    with safe_open(source, "np") as file:
        text = (file.metadata() or {}).get(GRID_KEY)
    if text is None:
        return None
    sides = text.split("x")
    if len(sides) != 2 or not all(side.isdecimal() and 0 < int(side) < 2**16 for side in sides):
        raise ValueError(f"{source}: its metadata says {GRID_KEY} {text!r}, which is no grid.")
    return int(sides[0]), int(sides[1])


READERS = {
    ".npz": read_npz,
    ".safetensors": read_safetensors,
    ".pth": read_torch,
    ".pt": read_torch,
}
