"""Which file of a run folder predicts: the fastest that was verified to be the same model."""

import logging
from importlib.util import find_spec
from pathlib import Path

from transfuse_keras.errors import blaming
from transfuse_keras.files import read_json
from transfuse_keras.inference.runtimes import KIND_OF_ENDING, RUNTIMES
from transfuse_keras.runs.metadata import is_verified
from transfuse_keras.runs.processor import describe_processor

log = logging.getLogger(__name__)

MODEL, BENCHMARK = "model.keras", "benchmark.json"
# without a benchmark, by the time from the start to the first mask; all of them float32
ORDER = ("model.tflite", "model.xml", "model.onnx")
GPU = Path("/dev/nvidia0")  # the model itself computes there, exported files do not


def choose_file(path):
    """The file that predicts for a run folder, said in one sentence; another path as it is.

    It is the one that `transfuse benchmark` recommended on this processor, else the first of
    ORDER, else model.keras. An exported file counts if it was verified against the model.keras
    that is there, if neither has changed since, and if what runs it is installed.

    Raises: InputError if benchmark.json or the .json beside a file is damaged.
    """
    if not (path / MODEL).is_file():
        return path
    for name, reason in rank_files(path):
        file = path / name
        if name != MODEL and is_verified(file) and has_runtime(file):
            log.info(f"Predicting with {file}: {reason}. --runtime keras takes {MODEL} itself.")
            return file
        if name == MODEL:
            log.info(f"Predicting with {file}: {reason}.")
            return path


def rank_files(run):
    """(name, reason) of the files that may be taken, the best first, model.keras last."""
    recommended = read_recommendation(run)
    if recommended is not None:
        yield recommended, f"the fastest on this processor by {BENCHMARK}"
    if GPU.exists():
        yield MODEL, "it computes on the GPU"
    for name in ORDER:
        yield name, f"verified to be the same model as {MODEL}"
    yield MODEL, "no exported file beside it was verified to be the same model"


def read_recommendation(run):
    """The name of the file that a benchmark on this processor recommended; None without one."""
    file = run / BENCHMARK
    result = read_json(file) or {}
    with blaming(file, "damaged", "measure again"):
        recommended, machine = result.get("recommended"), result.get("machine", {})
        here = describe_processor()
        if recommended is None or any(machine[key] != here[key] for key in here):
            return None
        return Path(recommended["file"]).name


def has_runtime(file):
    """Whether the package that runs an exported file is there."""
    _, module = RUNTIMES[KIND_OF_ENDING[file.suffix]]
    return find_spec(module.partition(".")[0]) is not None
