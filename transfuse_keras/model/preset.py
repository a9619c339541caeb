"""A TransFuse as a preset: the folder in which Keras and keras-hub keep a model, also on the hub.

It holds the three files that are in a `.keras` file.
"""

import logging
import tempfile
import zipfile
from pathlib import Path

from transfuse_keras.errors import InputError, first_line
from transfuse_keras.files import replacing
from transfuse_keras.model.archive import check_archive, check_config

log = logging.getLogger(__name__)

MODEL_CONFIG, METADATA, WEIGHTS = PRESET = ("config.json", "metadata.json", "model.weights.h5")
HUB = "hf://"


def save_preset(model, folder):
    """What `TransFuse.save_to_preset` does."""
    folder = Path(folder)
    others = [x.name for x in folder.iterdir() if x.name not in PRESET] if folder.is_dir() else ()
    if others:
        raise InputError(f"{folder}: holds {others[0]}, which is not of a preset; give another.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as beside, replacing(folder) as temporary:
        file = Path(beside, "model.keras")
        # shares the variables and is not compiled: an optimiser's state is no part of a preset
        model.resized(model.input_shape[1:3]).save(file)
        unpack_preset(file, temporary)


def unpack_preset(file, folder):
    """Write the preset that is in a `.keras` file into a folder; needs no Keras.

    Raises: InputError if the file is damaged or of another model.
    """
    try:
        check_archive(file)
        with zipfile.ZipFile(file) as archive:
            archive.extractall(folder, PRESET)
    except (zipfile.BadZipFile, LookupError, ValueError) as error:
        raise InputError(f"{file}: damaged or not the file of a model ({error}).") from error


def load_preset(preset):
    """What `TransFuse.from_preset` does."""
    import keras

    folder = fetch_preset(preset) if str(preset).startswith(HUB) else Path(preset)
    for name in (MODEL_CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(f"{preset}: has no {name}, so it is not a preset of a TransFuse.")
    try:
        check_config((folder / MODEL_CONFIG).read_bytes())
        return keras.saving.load_model(folder, compile=False, safe_mode=True)
    except Exception as error:  # HDF5 and Keras have their own for a damaged file
        reason = first_line(error)
        raise InputError(f"{preset}: damaged or not a preset of a TransFuse ({reason}).") from error


def fetch_preset(preset):
    """The folder of a preset "hf://user/model" in the cache of the hub, downloaded if need be."""
    from huggingface_hub import constants, snapshot_download

    try:
        folder = snapshot_download(preset.removeprefix(HUB), allow_patterns=list(PRESET))
    except Exception as error:  # offline, unknown, private: each has a class of its own
        reason = first_line(error)
        raise InputError(
            f"{preset}: could not be fetched from {constants.ENDPOINT} ({reason}); for a private "
            "repository log in by `hf auth login`."
        ) from error
    log.info(f"{preset}: commit {Path(folder).name}")
    return Path(folder)
