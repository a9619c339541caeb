"""Files of weights as plain mappings from tensor name to array."""

from pathlib import Path

import numpy as np


def read_tensors(source):
    """All tensors of a checkpoint.

    Args:
        source: path of an `.npz` or `.safetensors` file, or a mapping name -> array, which is
            returned as it is.

    Returns: dict of tensor name to NumPy array.

    Raises: ValueError if the file is missing, damaged or of another kind.
    """
    if not isinstance(source, (str, Path)):
        return source
    path = Path(source)
    readers = {".npz": read_npz, ".safetensors": read_safetensors}
    if path.suffix not in readers:
        known = ", ".join(readers)
        raise ValueError(f"{path}: cannot read weights from '{path.suffix}'; give one of {known}.")
    if not path.is_file():
        raise ValueError(f"{path}: no such weights file.")
    try:
        return readers[path.suffix](path)
    except Exception as error:
        raise ValueError(f"{path}: damaged or not a {path.suffix} file ({error}).") from error


def read_npz(path):
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def read_safetensors(path):
    from safetensors.numpy import load_file

    return load_file(path)
