"""A trained model of any kind as one thing: images in, probabilities out."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import expit
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from transfuse_keras.data.pipeline import normalizer
from transfuse_keras.errors import InputError
from transfuse_keras.export import run_litert, run_saved_model
from transfuse_keras.tasks.task import Augmentation, Recipe, Task
from transfuse_keras.weights.load import load_model

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
            `.tflite` file.

    Raises: InputError if it is missing, damaged or holds another model.
    """
    path = Path(path)
    if path.suffix == ".tflite" and path.is_file():
        return exported(path, litert_shapes, run_litert, one_by_one)
    if (path / "saved_model.pb").is_file():
        return exported(path, saved_model_shapes, run_saved_model, lambda run: run)
    if (path / "model.keras").is_file() or (path.suffix == ".keras" and path.is_file()):
        return as_predictor(load_model(path))
    raise InputError(
        f"{path}: no such model; give a run folder, a .keras file, a SavedModel folder or a "
        ".tflite file."
    )


def exported(path, shapes, load, batched):
    """A Predictor from an exported model.

    Args:
        path: Path of the file or folder.
        shapes: function of `path` to the shapes of its one input and its one output.
        load: function of `path` to what runs it on float32 images.
        batched: function that lets what `load` gave run batches.
    """
    try:
        (_, *size, channels), (_, *out_size, classes) = shapes(path)
        if len(size) != 2 or size != out_size or min(*size, channels, classes) < 1:
            raise ValueError(f"from {[*size, channels]} to {[*out_size, classes]}")
        run = batched(load(path))
    except Exception as error:  # each library has its own for a damaged file
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(f"{path}: damaged or not an exported TransFuse ({reason}).") from error
    return Predictor(
        tuple(size), channels, classes, lambda images: run(np.asarray(images, "float32"))
    )


def litert_shapes(path):
    """Shapes of the one input and the one output of a .tflite file, lists of int."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    (image,), (maps,) = interpreter.get_input_details(), interpreter.get_output_details()
    return image["shape"].tolist(), maps["shape"].tolist()


def saved_model_shapes(path):
    """Shapes of the one input and the one output of a SavedModel, lists of int."""
    graph = SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs[0]
    signature = graph.signature_def["serving_default"]
    (image,), (maps,) = signature.inputs.values(), signature.outputs.values()
    return [[axis.size for axis in tensor.tensor_shape.dim] for tensor in (image, maps)]


def one_by_one(run):
    """A function on batches from one that takes a single image at a time."""
    return lambda images: np.concatenate([run(image[None]) for image in images])


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
