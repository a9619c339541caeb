"""A trained model of any kind as one thing: images in, probabilities out."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import expit

from transfuse_keras import runners
from transfuse_keras.data.pipeline import normalizer
from transfuse_keras.errors import InputError
from transfuse_keras.tasks.task import Augmentation, Recipe, Task
from transfuse_keras.weights.load import load_model

EXPORTED = {".tflite": runners.litert, ".onnx": runners.onnx, ".xml": runners.openvino}
LEVELS = 3  # a model is at most two folders deep in its run: checkpoints/best.keras


def as_predictor(model):
    """A Predictor from a TransFuse; a Predictor is given back as it is."""
    if isinstance(model, Predictor):
        return model
    _, *size, channels = model.input_shape

    def run(images):
        normalize = normalizer(model.normalization, images.dtype)
        inputs = np.stack([normalize(image) for image in images])
        return expit(np.asarray(model.mask_model.predict_on_batch(inputs)))

    return Predictor(tuple(size), channels, model.classes, run)


def load_predictor(path):
    """A Predictor from a file or folder.

    Args:
        path: a run folder, a `.keras` file, the folder of an exported SavedModel, or an exported
            `.tflite`, `.onnx` or OpenVINO `.xml` file; OpenVINO computes in float32.

    Raises: InputError if it is missing, damaged or holds another model, or if the package that
    runs it is missing.
    """
    path = Path(path)
    if (path / "saved_model.pb").is_file():
        return exported(path, runners.saved_model)
    if path.suffix in EXPORTED and path.is_file():
        return exported(path, EXPORTED[path.suffix])
    if (path / "model.keras").is_file() or (path.suffix == ".keras" and path.is_file()):
        return as_predictor(load_model(path))
    raise InputError(
        f"{path}: no such model; give a run folder, a .keras, .tflite, .onnx or .xml file or a "
        "SavedModel folder."
    )


def exported(path, load):
    """A Predictor from an exported model; `load` is its function of runners.py."""
    try:
        (*size, channels), run = load(path)
        size = int(size[0]), int(size[1])
        maps = run(np.zeros((1, *size, channels), "float32"))
        if maps.shape[:3] != (1, *size):
            raise ValueError(f"it gives {maps.shape} from images of {size}")
    except ImportError as error:
        raise InputError(
            f"{path}: needs {error.name}: pip install 'transfuse-keras[onnx,openvino]'."
        ) from error
    except Exception as error:  # each library has its own for a damaged file
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(f"{path}: damaged or not an exported TransFuse ({reason}).") from error

    def one_by_one(images):
        images = np.asarray(images, "float32")
        return np.concatenate([run(image[None]) for image in images])

    return Predictor(size, int(channels), maps.shape[-1], one_by_one)


def find_run(path):
    """The run folder that a model belongs to: `path` itself or the first of two folders above it
    that holds a config.json; None without one."""
    path = Path(path).absolute()
    candidates = [path, *path.parents][:LEVELS]
    return next((folder for folder in candidates if (folder / "config.json").is_file()), None)


def run_task(run):
    """The Task that a run was trained on.

    Args:
        run: Path of the run folder.

    Raises: InputError if its config.json is missing, damaged or of something else.
    """
    file = run / "config.json"
    try:
        content = tuples(json.loads(file.read_text())["task"])
        phantom_recipe = content["phantom_recipe"]
        return Task(
            **{
                **content,
                "augmentation": Augmentation(**content["augmentation"]),
                "recipe": Recipe(**content["recipe"]),
                "phantom_recipe": phantom_recipe and Recipe(**phantom_recipe),
            }
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: does not tell the task of a run ({error}).") from error


def tuples(value):
    """Plain data with tuples where JSON has lists."""
    if isinstance(value, dict):
        return {key: tuples(item) for key, item in value.items()}
    return tuple(tuples(item) for item in value) if isinstance(value, list) else value


def run_thresholds(run, classes):
    """The threshold of each class by threshold.json of a run; 0.5 each without that file.

    Args:
        run: Path of the run folder.
        classes: names of the M classes.

    Returns: tuple of M floats.

    Raises: InputError if the file is damaged or lacks a class.
    """
    file = run / "threshold.json"
    if not file.is_file():
        return (0.5,) * len(classes)
    try:
        thresholds = json.loads(file.read_text())["thresholds"]
        return tuple(float(thresholds[name]) for name in classes)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: does not tell the threshold of each class ({error}).") from error


@dataclass(frozen=True)
class Predictor:
    """A trained model, whatever runs it.

    Attributes:
        size: (height, width) of the images it takes.
        channels: of these images.
        classes: the number M of maps.
        run: function of uint8 or float32 (B, *size, channels), RGB in 0-255 or, for a task on
            volumes, z-scored, to probabilities, float32 (B, *size, M) in [0, 1].
    """

    size: tuple[int, int]
    channels: int
    classes: int
    run: Callable
