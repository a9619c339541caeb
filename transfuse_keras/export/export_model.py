"""Exporting a trained model in several formats, with what it needs of its run and its data."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from transfuse_keras.data.cache import read_fitted
from transfuse_keras.data.context import with_neighbours
from transfuse_keras.data.normalization import keeps_z_scores
from transfuse_keras.data.splits import find_splits
from transfuse_keras.errors import SCORE_AGAIN, InputError, blaming, quantity
from transfuse_keras.export.averaging import combine
from transfuse_keras.export.formats import FORMATS, refuse_white_balance
from transfuse_keras.export.verification import (
    export_verified,
    predict_held_out,
    select_fullest_slice,
)
from transfuse_keras.files import read_json
from transfuse_keras.inference.predict import choose_flips
from transfuse_keras.model.load import load_model
from transfuse_keras.runs.fitting import known_together
from transfuse_keras.runs.folder import find_run, own_data, read_config, run_thresholds
from transfuse_keras.runs.members import find_members, is_cross_validation
from transfuse_keras.runs.metadata import ModelFacts
from transfuse_keras.runs.samples import own_samples
from transfuse_keras.runs.trust import read_trust
from transfuse_keras.tasks.task import Task

log = logging.getLogger(__name__)


CALIBRATED = 32  # training images that the ranges of int8 activations are found on


def export_model(path, formats, quantizations=("none",), out=None, data=None, flips=""):
    """Export a trained model in several formats, each verified against the Keras model.

    Args:
        path: run folder or `.keras` file; a list of them, or the folder of a cross-validation,
            for one file that averages.
        formats: keys of FORMATS.
        quantizations: of "none", "float16", "dynamic" and "int8"; a format takes those it has.
        out: the folder; by default the model's own.
        data: folder in a known layout to verify and to calibrate on; by default what the run was
            trained on.
        flips: mirror images that the file averages over, as of `choose_flips`.

    Writes: the files, a .json beside each and export.json with what `verify` gave of all.

    Raises: InputError if the model cannot be read, a format has none of the quantizations, or
    images are needed and not there; OverBudget if a file is not the same model.
    """
    jobs = plan_exports(formats, quantizations)
    members = find_members(path)
    single = len(members) == 1 and not flips
    out = choose_folder(out, path, members, single, formats)
    models, run = [load_model(member) for member in members], find_run(members[0])
    if "pytorch" in formats:
        refuse_white_balance(models[0])  # before minutes of other formats
    known = known_together(members)
    task = known[0] if known else create_unnamed_task(models[0])
    flips = choose_flips(flips, task)
    model = combine(members, models, flips, task.mirrored_classes)
    splits = find_verification_samples(task, run, data, {quantize for _, _, quantize in jobs})
    against, spacing = predict_held_out(model, task, splits["test"])
    int8 = {"dynamic", "int8"} & {quantize for _, _, quantize in jobs}
    if int8 and (against.truths is None or not against.truths.any()):
        raise InputError(
            "int8 weights are verified on labelled images: no test image shows any "
            "class; give --data."
        )
    if single:
        file = members[0] / "model.keras" if members[0].is_dir() else members[0]
        origin = find_model_facts(task, run, spacing, file)
    else:
        origin = describe_averaged(task, known, spacing, members, flips)
    calibration = None
    if any(quantize == "int8" for _, _, quantize in jobs):
        calibration = calibration_images(model, task, splits["train"])
    if task.sure and "onnx-any-size" in formats:
        log.warning(
            f"The masks in model-any-size.onnx keep all components of {', '.join(task.sure)}; "
            "transfuse predict keeps the sure ones alone, by their probabilities."
        )
    if single and task.flips and "web" in formats:
        log.warning(
            f"The page does not average over mirror images (flips={task.flips}), as transfuse "
            f"predict does; --flip {task.flips} writes them into the file."
        )
    out.mkdir(parents=True, exist_ok=True)
    for name, file, quantize in jobs:
        arguments = {"quantize": quantize} if len(FORMATS[name][2]) > 1 else {}
        if quantize == "int8":
            arguments["calibration"] = calibration
        export_verified(model, out / file, name, quantize, against, origin, arguments)


def choose_folder(out, given, members, single, formats):
    """The folder to write to: `out`, by default that of the run or of the cross-validation.

    Raises: InputError if a file that averages would lie where another model is expected.
    """
    if single:
        return Path(out or (members[0] if members[0].is_dir() else members[0].parent))
    if "pytorch" in formats:
        raise InputError("--format pytorch: holds the weights of one model, not of an average.")
    only = Path(given[0] if isinstance(given, list) and len(given) == 1 else str(given))
    if out is None and not is_cross_validation(only):
        raise InputError("Give --out a folder for the file that averages.")
    out = Path(out or only)
    if find_run(out) is not None:
        raise InputError(f"{out}: belongs to a run of its own; give --out another folder.")
    return out


def describe_averaged(task, known, spacing, members, flips):
    """ModelFacts of what averages models and mirror images; it was not scored as such."""
    runs = [find_run(member) for member in members]
    names = {run and read_config(run)["data"] for run in runs}
    data = names.pop() if len(names) == 1 else None
    thresholds = known[1] if known else (0.5,) * len(task.classes)
    parts = [f"{len(members)} models"] * (len(members) > 1)
    parts += [f"mirror images ({', '.join(flips)})"] * bool(flips)
    return ModelFacts(
        replace(task, flips=""),  # they are in the graph
        dict(zip(task.classes, thresholds, strict=True)),
        data and Path(data).name,
        spacing,
        averaged=" and ".join(parts),
    )


def plan_exports(formats, quantizations):
    """What to write: list of (format, file name, quantization)."""
    jobs = []
    for name in formats:
        _, file, known = FORMATS[name]
        possible = [quantize for quantize in quantizations if quantize in known]
        if not possible:
            raise InputError(f"--format {name}: has --quantize {' '.join(known)} only.")
        if left := [quantize for quantize in quantizations if quantize not in known]:
            several = "are skipped; this format does not support them"
            skipped = several if len(left) > 1 else "is skipped; this format does not support it"
            log.info(f"{name}: {' and '.join(left)} {skipped}.")
        stem, dot, suffix = file.partition(".")
        jobs += [(name, file if x == "none" else f"{stem}-{x}{dot}{suffix}", x) for x in possible]
    return jobs


def create_unnamed_task(model):
    """The task of a model that lies in no run: its classes have numbers."""
    if keeps_z_scores(model.normalization):
        raise InputError("A model of a task on volumes is exported from its run folder only.")
    names = tuple(f"class-{i}" for i in range(model.classes))
    return Task("unknown", names, channels=model.input_shape[-1])


def find_verification_samples(task, run, data, quantizations):
    """{"train", "test"} -> samples to calibrate and to verify on; empty where there are none."""
    if data is not None:
        return find_splits(task, data)
    if run is not None:
        folder = own_data(run)
        if folder is None or Path(folder).is_dir():
            return {part: own_samples(task, run, part) for part in ("train", "test")}
    if quantizations & {"dynamic", "int8"}:
        where = f"{own_data(run)} is not there" if run else "the model is in no run folder"
        raise InputError(f"int8 weights are verified on labelled images: {where}; give --data.")
    return {"train": [], "test": []}


def calibration_images(model, task, samples):
    """CALIBRATED training images, drawn with seed 0, as of `serving_model`."""
    if not samples:
        raise InputError("int8 needs training images to find its ranges on; give --data.")
    chosen = np.random.default_rng(0).permutation(len(samples))[:CALIBRATED]
    log.info(f"Calibrating int8 on {quantity(len(chosen), 'training image')} (drawn with seed 0)")
    images = []
    for i in chosen:
        image, masks = read_fitted(samples[i], model.input_shape[1:3], task.field)
        images.append(select_fullest_slice(with_neighbours(image, task.context), masks)[0])
    return np.stack(images)


def find_model_facts(task, run, spacing, file):
    """ModelFacts of a model, the .keras `file`, in a run folder, or in none."""
    if run is None:
        return ModelFacts(task, dict.fromkeys(task.classes, 0.5), spacing=spacing, file=file)
    data = read_config(run)["data"]
    scored = run / "metrics.json"
    metrics = read_json(scored)
    with blaming(scored, "not the scores of a run", SCORE_AGAIN):
        scores = metrics and {key: metrics[key] for key in ("n", "mean", "protocol")}
    return ModelFacts(
        task,
        dict(zip(task.classes, run_thresholds(run, task.classes), strict=True)),
        data if data == "phantom" else Path(data).name,
        spacing,
        scores,
        file,
        trust=read_trust(run),
    )
