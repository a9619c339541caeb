"""A trained model of any kind as one thing: images in, probabilities out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transfuse_keras.data.normalization import keeps_z_scores
from transfuse_keras.data.quiet import silenced
from transfuse_keras.errors import InputError, first_line
from transfuse_keras.inference import runtimes
from transfuse_keras.runs.embedded import find_inner_model

EXPORTED = {".tflite": runtimes.litert, ".onnx": runtimes.onnx, ".xml": runtimes.openvino}


def as_predictor(model):
    """A Predictor from a TransFuse; a Predictor is given back as it is. InputError for others."""
    if isinstance(model, Predictor):
        return model
    if not hasattr(type(model), "mask_model"):
        raise InputError(
            f"The model is {type(model).__name__}, not a TransFuse; tk.load_model reads one."
        )
    _, *size, channels = model.input_shape
    run = runtimes.probabilities_by(model)
    z_scored = keeps_z_scores(model.normalization)
    return Predictor(tuple(size), channels, model.classes, run, z_scored)


def load_predictor(path, precision=None, jit=None):
    """A Predictor from a file or folder.

    Args:
        path: a run folder, a `.keras` file, the folder of an exported SavedModel, or an exported
            `.tflite`, `.onnx` or OpenVINO `.xml` file; OpenVINO computes in float32.
        precision, jit: of a `.keras` file, see computing.py; by default "float32" and "auto".

    Raises: InputError if it is missing, damaged or holds another model, if the package that runs
    it is missing, or if precision or jit is given for an exported model.
    """
    path = Path(path)
    if (path / "model.keras").is_file() or (path.suffix == ".keras" and path.is_file()):
        # not before: an exported model needs no Keras, and is predicted with at once
        from transfuse_keras.devices import computing_in, resolve_jit
        from transfuse_keras.model.load import load_model
        from transfuse_keras.runs.settings import JIT

        with computing_in(precision or "float32"):
            model = load_model(path)
        model.mask_model.jit_compile = resolve_jit(JIT[jit or "auto"])
        return as_predictor(model)
    for option, value in (("precision", precision), ("jit", jit)):
        if value is not None:
            raise InputError(f"{path}: --{option} is for .keras models; an export has its own.")
    if (path / "saved_model.pb").is_file():
        return exported(path, runtimes.saved_model, any_batch=True)
    if (inner := find_inner_model(path)) is not None:
        return exported(inner, EXPORTED[inner.suffix])
    if path.suffix in EXPORTED and path.is_file():
        return exported(path, EXPORTED[path.suffix])
    raise InputError(
        f"{path}: no such model; give a run folder, a .keras, .tflite, .onnx or .xml file, or the "
        "folder of a SavedModel, a page or a Triton repository."
    )


def exported(path, load, any_batch=False):
    """A Predictor from an exported model; `load` is its function of runtimes.py. It is given one
    image after another, if its batch is not of `any_batch` size."""
    try:
        with silenced():
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
        reason = first_line(error)
        raise InputError(f"{path}: damaged or not an exported TransFuse ({reason}).") from error

    def run_all(images):
        images = np.asarray(images, "float32")
        parts = [images] if any_batch else [image[None] for image in images]
        return np.concatenate([run(part) for part in parts])

    return Predictor(size, int(channels), maps.shape[-1], run_all)


@dataclass(frozen=True)
class Predictor:
    """A trained model, whatever runs it.

    Attributes:
        size: (height, width) of the images it takes.
        channels: of these images.
        classes: the number M of maps.
        run: function of uint8 or float32 (B, *size, channels), RGB in 0-255 or, for a task on
            volumes, z-scored, to probabilities, float32 (B, *size, M) in [0, 1].
        z_scored: whether it is of a task on volumes, None where that is unknown.
    """

    size: tuple[int, int]
    channels: int
    classes: int
    run: Callable
    z_scored: bool | None = None
