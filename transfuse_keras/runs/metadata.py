"""What an exported model says of itself: what its numbers mean and where they come from.

It is inside the file (runs/embedded.py) and, with how the file was verified, in a .json beside it,
which is for people and goes first where both are there.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from transfuse_keras.data.normalization import keeps_z_scores
from transfuse_keras.errors import EXPORT_AGAIN, blaming
from transfuse_keras.files import compute_digest, read_json, write_json
from transfuse_keras.runs.embedded import read_embedded, write_embedded
from transfuse_keras.runs.folder import find_run, run_task, run_thresholds
from transfuse_keras.tasks.task import Augmentation, Task, tuples
from transfuse_keras.versions import versions

RGB, Z_SCORED = "RGB, 0-255", "z-scored by volume and channel"
RANGES = ("value_range", "dicom_range")  # fields of a task
EXPORT_PACKAGES = ("transfuse-keras", "keras", "tensorflow", "ai-edge-litert", "ai-edge-quantizer")


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a trained model besides its graph.

    Attributes:
        task: Task.
        thresholds: class -> probability.
        data: the folder's name, or "phantom"; None if unknown.
        spacing: (row, column) mm of a pixel at the model's size, None if unknown.
        scores: {"n", "mean", "protocol"} of the run, None if it was not scored.
        file: Path of the .keras file, None if there is none.
        averaged: what the file averages, in words, such as "5 models"; None if nothing.
        trust: Trust, see `runs.trust`; None if none was fitted.
    """

    task: Task
    thresholds: dict
    data: str | None = None
    spacing: tuple[float, float] | None = None
    scores: dict | None = None
    file: Path | None = None
    averaged: str | None = None
    trust: object | None = None


def metadata_path(path):
    """model.tflite.json of model.tflite, saved_model.json of the folder saved_model."""
    return path.parent / f"{path.name}.json"  # a folder may have no name: "."


def compose_description(model, origin, kind, quantize):
    """The description of an exported model, plain data.

    Args:
        model: TransFuse.
        origin: ModelFacts.
        kind: a key of FORMATS, such as "litert".
        quantize: "none", "float16", "dynamic" or "int8".
    """
    task, (mean, std) = origin.task, model.normalization
    return {
        "task": task.name,
        "data": origin.data,
        "variant": model.variant if isinstance(model.variant, str) else "own",
        "averaged": origin.averaged,
        "format": kind,
        "quantize": quantize,
        "classes": task.classes,
        "thresholds": [origin.thresholds[name] for name in task.classes],
        "exclusive": task.exclusive,
        "sure": task.sure or (),  # classes of whose masks only sure components stay
        "mirror_pairs": task.mirror_pairs,
        "field": task.field,
        "context": task.context,  # the channels of 2 * context + 1 slices are the input's
        "channel_suffixes": task.channel_suffixes,
        "flips": task.flips,
        "augmentation": task.augmentation and asdict(task.augmentation),
        "protocols": task.protocols,
        "tolerance": task.tolerance,
        "ignore": task.ignore,
        "codes": task.codes,
        "input": {
            "size": model.input_shape[1:3],
            "channels": model.input_shape[3],
            "dtype": "uint8" if kind == "onnx-any-size" else "float32",
            "values": Z_SCORED if keeps_z_scores(model.normalization) else RGB,
            "value_range": task.value_range,  # (black, white) of images of more than 8 bits
            "dicom_range": task.dicom_range,  # of DICOM images without a window
        },
        "output": "probabilities (batch, height, width, class)",
        "normalization": {"mean": mean, "std": std},
        "spacing": origin.spacing,
        "scores": origin.scores,
        "trust": origin.trust and asdict(origin.trust),  # see `runs.trust`
        "versions": versions(*EXPORT_PACKAGES),
    }


def write_metadata(path, about, verified, source=None):
    """Write the .json beside an exported model.

    Args:
        path: Path of the exported file or folder.
        about: what `compose_description` gave.
        verified: what `verify` gave.
        source: Path of the .keras file that it was compared with, None if there is none.
    """
    digests = {file.name: compute_digest(file) for file in (*parts(path), source) if file}
    write_json(metadata_path(path), {**about, "verified": verified, "sha256": digests})


def read_description(path):
    """What an exported model says of itself: by the .json beside it, else by its own file.

    Returns: (Path of the file that says it, plain data or None).

    Raises: InputError if that file is damaged.
    """
    path = Path(path)
    file = metadata_path(path)
    content = read_json(file, EXPORT_AGAIN)
    return (file, content) if content is not None else (path, read_embedded(path))


def parts(path):
    """The files of an exported model but a SavedModel: OpenVINO keeps its weights in a second."""
    files = [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]
    return [file for file in files if file.is_file()]


def count_bytes(path):
    """Bytes of a model: of a file, with OpenVINO's weights beside it, or of a folder."""
    files = path.rglob("*") if path.is_dir() else parts(path)
    return sum(file.stat().st_size for file in files if file.is_file())


def is_verified(path):
    """Whether an exported file of a run was compared with the run's model.keras, and whether both
    are as they were then.

    Files of former versions do not tell, and do not count.

    Raises: InputError if the .json beside it is damaged.
    """
    file, files = metadata_path(path), [*parts(path), path.with_name("model.keras")]
    content = read_json(file, EXPORT_AGAIN)
    if content is None or not path.is_file():
        return False
    with blaming(file, "damaged", EXPORT_AGAIN):
        wanted = content.get("sha256", {})
        known = bool(content["verified"]) and all(x.name in wanted for x in files)
        return known and all(compute_digest(x) == wanted[x.name] for x in files)


def read_quantization(path):
    """How an exported file, the .json of which is there, is quantised: a key of BUDGETS."""
    file = metadata_path(path)
    with blaming(file, "damaged", EXPORT_AGAIN):
        return str(read_json(file, EXPORT_AGAIN)["quantize"])


def read_metadata(path):
    """The task of an exported model, as it says itself.

    Args:
        path: of the model.

    Returns: (Task, tuple of a threshold for each class); None if it does not say.

    Raises: InputError if what it says is damaged.
    """
    file, content = read_description(path)
    if content is None:
        return None
    with blaming(file, "damaged", EXPORT_AGAIN):
        ranges = {name: content["input"].get(name) for name in RANGES}  # former versions lack them
        augmentation, context = content.get("augmentation"), content.get("context", 0)
        task = Task(
            content["task"],
            tuple(content["classes"]),
            channels=content["input"]["channels"] // (2 * context + 1),
            context=context,
            exclusive=content["exclusive"],
            sure=tuple(content.get("sure", ())),
            mirror_pairs=tuple(map(tuple, content["mirror_pairs"])),
            field=content["field"] and tuple(content["field"]),
            channel_suffixes=tuple(content.get("channel_suffixes", ())),
            flips=content["flips"],
            augmentation=augmentation and Augmentation(**tuples(augmentation)),
            protocols=tuple(content["protocols"]),
            tolerance=content.get("tolerance"),
            ignore=content.get("ignore"),
            codes=tuples(content.get("codes", {})),
            **{name: x and tuple(map(float, x)) for name, x in ranges.items()},
        )
        thresholds = tuple(float(x) for x in content["thresholds"])
        if len(thresholds) != len(task.classes):
            raise ValueError(f"{len(thresholds)} thresholds for {len(task.classes)} classes")
        return task, thresholds


def known_task(model):
    """What is known of a model: (Task, tuple of thresholds) of its run, else as it says itself,
    else None; `model` is its path."""
    run = find_run(model)
    if run is None:
        return read_metadata(model)
    task = run_task(run)
    return task, run_thresholds(run, task.classes)


def keep_ranges(task, known):
    """A task with the ranges of grey levels, the augmentation, the context and the sure classes of
    a model, unless it has its own.

    Args:
        task: Task.
        known: what `known_task` gave of the model.
    """
    if known is None:
        return task
    found = (*RANGES, "augmentation", "context")
    sure = known[0].sure if task.sure is None else task.sure
    return replace(task, sure=sure, **{x: getattr(task, x) or getattr(known[0], x) for x in found})


def update_thresholds(run, thresholds):
    """Write other thresholds into the exported models of a run, and beside them.

    What was verified stays so: its graph is the same.

    Args:
        run: Path of the run folder.
        thresholds: class -> probability.

    Raises: InputError if one is damaged.
    """

    def change(file, content):
        with blaming(file, "damaged", EXPORT_AGAIN):
            content["thresholds"] = [thresholds[name] for name in content["classes"]]

    for path in run.iterdir() if run.is_dir() else ():
        file = metadata_path(path)
        inside, beside = read_embedded(path), read_json(file, EXPORT_AGAIN)
        if beside is not None:
            change(file, beside)
        if inside is not None:
            change(path, inside)
            digests = (beside or {}).get("sha256", {})
            known = path.name in digests and compute_digest(path) == digests[path.name]
            write_embedded(path, inside)
            if known:
                digests[path.name] = compute_digest(path)
        if beside is not None:
            write_json(file, beside)
