"""A `.keras` file of a TransFuse, checked before anything of it is built."""

import json
import zipfile
from pathlib import Path

import keras

from transfuse_keras.errors import InputError
from transfuse_keras.model.variants import resolve_variant
from transfuse_keras.weights.readers import refuse_bomb

LONGEST = 2**24  # bytes of a configuration; that of the largest model takes a thousandth


def read_model(path):
    """A trained TransFuse from its run folder or `.keras` file.

    No code is run that the file brings along: it holds a TransFuse, and Lambda layers in a CNN
    of its own are refused.

    Raises: InputError if there is none, or the file is damaged or holds another model.
    """
    path = Path(path)
    file = path / "model.keras" if path.is_dir() else path
    if file.suffix != ".keras" or not file.is_file():
        raise InputError(f"{file}: no such model; give a run folder or a .keras file.")
    try:
        check_archive(file)
        return keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"{file}: damaged or not the file of a model ({reason}).") from error


def check_archive(file):
    """Raise an exception unless a `.keras` file says that it holds a TransFuse which is no larger
    than its weights; nothing is built before."""
    refuse_bomb(file)
    with zipfile.ZipFile(file) as archive:
        if archive.getinfo("config.json").file_size > LONGEST:
            raise ValueError("its configuration is too long")
        content = json.loads(archive.read("config.json"))
    if content.get("registered_name") != "transfuse_keras>TransFuse":
        raise ValueError(f"it holds a {content.get('class_name')}, not a TransFuse")
    config = content["config"]
    if config.get("weights") is not None or "_blocks" in config:
        raise ValueError("its configuration names weights other than its own")
    if least_weights(config) > file.stat().st_size:
        raise ValueError("its configuration describes a larger model than it has weights for")


def least_weights(config):
    """A number of weights that the TransFuse of a configuration has at the very least."""
    variant = resolve_variant(config["variant"])
    rows, columns = config["position_grid"]
    sizes = (rows * columns, config["input_shape"][2], config["classes"])
    blocks = 10**5 * variant.depth  # at 64 channels a head, a block has more
    return max(*sizes, blocks, *(width**2 for width in variant.widths))
