"""Scoring a trained model of any format on any folder of labelled images."""

import logging
from pathlib import Path

from transfuse_keras.data.layouts import find_samples
from transfuse_keras.errors import InputError
from transfuse_keras.evaluation.evaluate import choose_thresholds
from transfuse_keras.evaluation.report import write_report
from transfuse_keras.evaluation.results import score_samples, write_thresholds
from transfuse_keras.files import first_free, write_json
from transfuse_keras.inference.predictor import load_predictor
from transfuse_keras.runs.folder import find_run, own_data, own_samples, read_config
from transfuse_keras.runs.logfile import begin_log, logging_to_folder
from transfuse_keras.runs.metadata import keep_value_range, known_task

log = logging.getLogger(__name__)


@logging_to_folder()
def evaluate_model(
    model,
    data=None,
    out=None,
    task=None,
    threshold=None,
    flips=None,
    spacing=None,
    precision=None,
    jit=None,
):
    """Score a model and leave a folder with tables, pictures, a report and metrics.json.

    Args:
        model: run folder, `.keras` file, SavedModel folder or `.tflite` file.
        data: folder in a known layout. Its test split is scored, or all of it where it names
            none; of the data that the run was trained on only what the run held out. None is
            that data.
        out: the folder; by default evaluations/<data> in the run, or the first free <data>-2 ...
        task: Task; by default the run's, or that of the .json beside an exported model.
        threshold: a probability, "auto" for the best on the run's validation split (kept with
            the run), None for what the run or that .json keeps, else 0.5.
        flips: average over mirror images, see `predict`; by default as the task says.
        spacing: (row, column) mm of images whose spacing is not known otherwise.
        precision, jit: as of `load_predictor`.

    Returns: Path of the folder.

    Raises: InputError if model, data or folder cannot be used.
    """
    run, known = find_run(model), known_task(model)
    if task is None:
        if known is None:
            raise InputError(
                f"{model}: is in no run folder and has no .json beside it; give --task."
            )
        task = known[0]
    task = keep_value_range(task, known)
    predictor = load_predictor(model, precision, jit)
    if (predictor.channels, predictor.classes) != (task.channels, len(task.classes)):
        raise InputError(
            f"{model}: has {predictor.channels} channels and {predictor.classes} classes, but the "
            f"task {task.name} has {task.channels} and {len(task.classes)}."
        )
    flips = task.flips if flips is None else flips
    samples = test_samples(task, data, run, spacing)
    name = "phantom" if data is None and own_data(run) is None else Path(data or own_data(run)).name
    folder = choose_evaluation_folder(out, run, name)
    if threshold == "auto":
        if run is None:
            raise InputError(f"{model}: is in no run folder, so has no validation split for auto.")
        thresholds = choose_thresholds(predictor, own_samples(task, run, "val"), task, flips)
        write_thresholds(run, thresholds, "auto")
    elif threshold is not None:
        thresholds = dict.fromkeys(task.classes, threshold)
    else:
        values = known[1] if known else [0.5] * len(task.classes)
        thresholds = dict(zip(task.classes, values, strict=True))
    folder.mkdir(parents=True, exist_ok=True)
    begin_log(folder)
    log.info(f"Evaluation folder: {folder}")
    metrics = {
        **{"task": task.name, "data": str(data) if data else own_data(run) or "phantom"},
        "variant": read_config(run)["recipe"]["variant"] if run else "unknown",
        "model": str(model),
        **({"precision": precision} if precision else {}),
        **score_samples(folder, predictor, task, samples, thresholds, flips),
    }
    write_report(folder, metrics)
    write_json(folder / "metrics.json", metrics)
    return folder


def choose_evaluation_folder(out, run, name):
    """A folder to evaluate into: `out` if it is new or empty, else the first free one."""
    if out is None:
        return first_free(
            (run / "evaluations" if run else Path()) / (name if run else f"evaluation-{name}")
        )
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: already holds something else; give --out a new folder.")
    return folder


def test_samples(task, data, run, spacing):
    """The samples to score, see `evaluate_model`."""
    if data is None or (run is not None and own_data(run) == str(Path(data).resolve())):
        return own_samples(task, run, "test")
    listing = find_samples(task, data, spacing)
    if listing.errors:
        raise InputError(listing.errors[0])
    for warning in listing.warnings:
        log.warning(warning)
    return [sample for sample in listing.samples if sample.split == "test"] or listing.samples
