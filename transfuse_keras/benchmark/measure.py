"""All formats of a trained model side by side: how fast, how large, how close to the machine."""

import logging
import os
import tempfile
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from transfuse_keras.benchmark.processes import process, take_turns
from transfuse_keras.benchmark.recommend import recommend
from transfuse_keras.benchmark.table import size_text
from transfuse_keras.errors import InputError
from transfuse_keras.export.litert import export_litert
from transfuse_keras.export.saved_model import export_saved_model
from transfuse_keras.files import write_json
from transfuse_keras.inference.runtimes import KIND_OF_ENDING, MATRIX
from transfuse_keras.model.flops import count_flops
from transfuse_keras.model.load import load_model
from transfuse_keras.runs.metadata import count_bytes
from transfuse_keras.runs.processor import describe_processor
from transfuse_keras.versions import versions

log = logging.getLogger(__name__)


PATTERNS = ("model.keras", "saved_model", "*.tflite", "*.onnx", "*.xml")  # of a run folder
RUNTIME_NAMES = {  # kind -> (name, module)
    "keras": ("Keras", "keras"),
    "saved_model": ("TensorFlow", "tensorflow"),
    "litert": ("LiteRT", "ai_edge_litert"),
    "onnx": ("ONNX Runtime", "onnxruntime"),
    "openvino": ("OpenVINO", "openvino"),
}


def benchmark(path, image_size=None, threads=None, rounds=30):
    """Measure all formats of a model and write benchmark.json into its folder.

    Each runs in a process of its own; they take turns, so that what disturbs the machine for a
    while spoils no format alone. In each turn a first run is not counted. All are in memory at
    the same time.

    Args:
        path: run folder, or a single .keras, .tflite, .onnx or .xml file or SavedModel folder.
        image_size: (height, width) other than the model's own: model.keras, resized, is measured
            with a SavedModel and a LiteRT file exported from it, and no other file.
        threads: that a runtime computes with; by default one for each core.
        rounds: runs of each format that are counted.

    Returns: {"machine": {"cpu", "instructions", "threads", "peak_gflops": of a float32 matrix
    product in GFLOP/s}, "versions", "image_size", "gflop": of one image, None without a .keras
    file, "rounds", "rows", "recommended": what `recommend` gives of a run folder}, as written.
    Rows are sorted by latency: {"file", "runtime", "latency_ms": median, "p95_ms",
    "images_per_second": 1 / median, "peak_share", "memory_mb": the most that the process held,
    with the interpreter and the libraries of the runtime, None where the system does not tell,
    "load_seconds": from opening the file to the first result, imports excluded, "file_mb"};
    1 MB is 1e6 bytes.

    Raises: InputError if there is no model, one cannot be run, or the sizes of images differ.
    """
    path, threads = Path(path), os.cpu_count() if threads is None else threads
    for name, value in (("--threads", threads), ("--rounds", rounds)):
        if value < 1:
            raise InputError(f"{name} {value}: give 1 or more.")
    with at_size(find_models(path), image_size and tuple(image_size)) as (files, model):
        gflop = count_flops(model.mask_model) / 1e9 if model else None
        jobs = plan_measurements(files, threads, model and model.input_shape[1:3])
        size, peak, rows = measure_runtimes(jobs, threads, rounds)
    used = [RUNTIME_NAMES[settings["kind"]][1].replace("_", "-") for _, _, settings in jobs]
    for row in rows:
        row["peak_share"] = gflop and gflop * row["images_per_second"] / peak
    result = {
        "machine": {**describe_processor(), "threads": threads, "peak_gflops": peak},
        "versions": versions("numpy", *sorted({"tensorflow", *used})),
        "image_size": size,
        "gflop": gflop,
        "rounds": rounds,
        "rows": sorted(rows, key=lambda row: row["latency_ms"]),
    }
    whole = path.is_dir() and image_size is None
    result["recommended"] = recommend(path, result["rows"]) if whole else None
    write_json((path.parent if find_kind(path) else path) / "benchmark.json", result)
    return result


def find_kind(path):
    """Of a model file or SavedModel folder a key of RUNTIMES, None of anything else."""
    if (path / "saved_model.pb").is_file():
        return "saved_model"
    return KIND_OF_ENDING.get(path.suffix) if path.is_file() else None


def find_models(path):
    """Paths of the models of a run folder; `path` itself if it is one."""
    candidates = [path] if find_kind(path) else [x for y in PATTERNS for x in sorted(path.glob(y))]
    files = [file for file in candidates if find_kind(file)]
    if not files:
        raise InputError(
            f"{path}: no model is there; give a run folder, a .keras, .tflite, .onnx or .xml file "
            "or a SavedModel folder."
        )
    return files


@contextmanager
def at_size(files, size):
    """Yields the files to measure, and the TransFuse in the .keras file among them or None.

    At a `size` (height, width) other than the model's own, these are the .keras file and two
    exported ones, which are gone afterwards.
    """
    file = next((file for file in files if file.suffix == ".keras"), None)
    model = file and load_model(file)
    if size is None or (model and size == model.input_shape[1:3]):
        yield files, model
        return
    if model is None:
        raise InputError(f"{files[0]}: keeps its size; only a .keras file takes an --image-size.")
    try:
        model = model.resized(size)
    except ValueError as error:
        raise InputError(f"--image-size {size_text(size)}: {error}") from error
    log.info(
        f"At {size_text(size)}: {file.name}, resized, and a SavedModel and a LiteRT file exported "
        "from it for this measurement; no other file has this size."
    )
    with tempfile.TemporaryDirectory() as folder:
        saved_model, litert = Path(folder, "saved_model"), Path(folder, "model.tflite")
        export_saved_model(model, saved_model)
        export_litert(model, litert)
        yield [file, saved_model, litert], model


def plan_measurements(files, threads, size):
    """What is to be measured; `size`: (height, width) for a .keras file.

    Returns: list of (Path, name of the runtime, settings of its runner).

    Raises: InputError if the package of each is missing; a line says so if only some are.
    """
    jobs, missing = [], []
    for file in files:
        kind = find_kind(file)
        name, module = RUNTIME_NAMES[kind]
        settings = {"kind": kind, "path": str(file), "threads": threads}
        if kind in ("onnx", "openvino") and find_spec(module) is None:
            missing.append(
                f"{file.name} is left out: {module} is not installed; "
                f"pip install 'transfuse-keras[{kind}]'"
            )
        elif kind == "openvino":
            for precision in openvino_precisions():
                jobs.append((file, f"{name} {precision}", {**settings, "precision": precision}))
        else:
            jobs.append((file, name, {**settings, "size": size} if kind == "keras" else settings))
    if not jobs:
        raise InputError(missing[0])
    for line in missing:
        log.warning(line)
    return jobs


def openvino_precisions():
    """f32, and bf16 where the CPU has it: OpenVINO's own choice there."""
    from openvino import Core

    capabilities = Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ["f32", "bf16"] if "BF16" in capabilities else ["f32"]


def measure_runtimes(jobs, threads, rounds):
    """Run all in turns.

    Args:
        jobs: as `plan_measurements` gives them.

    Returns: (height, width) of the images; GFLOP/s of a float32 matrix product; rows without
    their share of it.
    """
    matmul = "a matrix product", "TensorFlow", {"kind": "matmul", "path": None, "threads": threads}
    with ExitStack() as stack:
        started = [stack.enter_context(process(*job)) for job in (*jobs, matmul)]
        loaded = [answer for answer, _ in started[:-1]]
        sizes = [answer["shape"][:2] for answer in loaded]
        size = common_size([file for file, _, _ in jobs], sizes)
        *measured, peaks = take_turns([run for _, run in started], rounds)
    rows = []
    for (file, runtime, _), start, answers in zip(jobs, loaded, measured, strict=True):
        memory = answers[-1]["memory"]
        rows.append(
            {"file": file.name, "runtime": runtime}
            | summary([answer["seconds"] for answer in answers])
            | {"memory_mb": memory and memory / 1e6, "load_seconds": start["load_seconds"]}
            | {"file_mb": count_bytes(file) / 1e6}
        )
    return size, 2e-9 * MATRIX**3 / min(answer["seconds"] for answer in peaks), rows


def common_size(files, sizes):
    """The one (height, width) of all."""
    for file, size in zip(files, sizes, strict=True):
        if size != sizes[0]:
            raise InputError(
                f"{file}: takes images of {size_text(size)}, but {files[0]} of "
                f"{size_text(sizes[0])}; export it again or measure one file at a time."
            )
    return sizes[0]


def summary(seconds):
    """Median and 95th percentile of durations, and images a second at the median."""
    median = float(np.median(seconds))
    p95 = float(np.percentile(seconds, 95))
    return {"latency_ms": 1e3 * median, "p95_ms": 1e3 * p95, "images_per_second": 1 / median}
