"""A `.keras` file of a TransFuse, checked before anything of it is built."""

import json
import zipfile
from pathlib import Path

from transfuse_keras.errors import InputError, first_line
from transfuse_keras.weights.readers import refuse_zip_bomb

# so that no config.json fills the memory: a thousand times the longest; cut off there it is no JSON
LONGEST = 2**24  # bytes


def read_model(path):
    """A trained TransFuse from its run folder or `.keras` file.

    No code is run that the file brings along: it holds a TransFuse, and Lambda layers in a CNN
    of its own are refused.

    Raises: InputError if there is none, or the file is damaged or holds another model.
    """
    import keras  # not at the top: push unpacks a model without it

    path = Path(path)
    file = path / "model.keras" if path.is_dir() else path
    if file.suffix != ".keras" or not file.is_file():
        raise InputError(f"{file}: no such model; give a run folder or a .keras file.")
    try:
        check_archive(file)
        return keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as error:
        reason = first_line(error)
        raise InputError(f"{file}: damaged or not the file of a model ({reason}).") from error


def check_archive(file):
    """Raise an exception unless a `.keras` file says that it holds a TransFuse and its weights.

    Nothing is built before; sizes that no TransFuse has are refused when it is.
    """
    refuse_zip_bomb(file)
    with zipfile.ZipFile(file) as archive, archive.open("config.json") as config:
        check_config(config.read(LONGEST))


def check_config(text):
    """Raise an exception unless a config.json is that of a TransFuse which brings its weights."""
    content = json.loads(text[:LONGEST])
    if content.get("registered_name") != "transfuse_keras>TransFuse":
        raise ValueError(f"it holds a {content.get('class_name')}, not a TransFuse")
    if content["config"].get("weights") is not None:
        raise ValueError("its configuration names weights other than its own")
