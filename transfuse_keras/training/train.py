"""Training a task from start to end, and the run folder it leaves."""

import logging
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import keras

from transfuse_keras.data.splits import find_splits, limit_samples
from transfuse_keras.data.survey import fix_augmentation
from transfuse_keras.data.value_range import fix_ranges
from transfuse_keras.errors import InputError, quantity
from transfuse_keras.evaluation.protocols import refuse_unknown_protocols
from transfuse_keras.files import remove, remove_leftovers, replacing
from transfuse_keras.model.load import load_model
from transfuse_keras.runs.folder import (
    COMPLETE,
    keep_settings,
    refuse_other_split,
    writing_run,
)
from transfuse_keras.runs.logfile import begin_log, logging_to_folder
from transfuse_keras.runs.samples import complete_split
from transfuse_keras.training import checkpoints
from transfuse_keras.training.finish import exported_files, write_results
from transfuse_keras.training.fit import fit_model, has_ended, monitor_of
from transfuse_keras.training.hosts import joined
from transfuse_keras.training.tracking import Trackers
from transfuse_keras.versions import find_exporter, find_missing_for_onnx, has_tensorflow

log = logging.getLogger(__name__)


# What the weights start from. Each step replaces what the step before gave:
# 1. random numbers, drawn with settings.seed;
# 2. --weights imagenet or a folder: the published weights of the branches, the rest stays random;
# 3. --weights with a run, a .keras file or the authors' checkpoint: all layers, or with
#    --skip-heads all but the heads;
# 4. --resume: the newest undamaged checkpoint of the run; 2 and 3 are then left out.
@logging_to_folder()
def train_task(
    settings,
    out=None,
    resume=False,
    devices=None,
    job=None,
    epochs=None,
    keep_checkpoints=False,
    export=True,
    report=True,
    track=(),
):
    """Train a task and leave a run folder.

    Args:
        settings: Settings; to go on with a run, its own (`read_settings`).
        out: the run folder; by default savedmodels/<task>, or the first free <task>-2, ...
        resume: go on with the run in the Path `out` from its newest undamaged checkpoint; the
            result is that of a run that was not interrupted.
        devices: "all" for all devices of this host, see `all_devices`; None for one.
        job: (coordinator, number of processes, index of this one) to train on several hosts, see
            `joined`; `out` must then be a folder that all of them see.
        epochs: with `resume`, go on to so many epochs instead of those that the run was begun for.
        keep_checkpoints: keep those of the last two epochs and of the best, with which a complete
            run can be trained for longer.
        export: whether to write saved_model/, model.tflite and export.json; model.onnx instead
            where TensorFlow is not installed, and what PyTorch writes it with is.
        report: whether to write report.html.
        track: keys of `tracking.TRACKERS`, which are told the epochs and the test scores.

    Returns: Path of the run folder. It holds config.json, split.csv, log.txt, logs/ (TensorBoard),
    history.csv, model.keras, saved_model/, model.tflite, export.json, cases.csv, overlays/,
    predictions/ (of volumes), report.html and, last, metrics.json; until then, checkpoints/.
    Scored and exported is the best model in float32, whatever it was trained in.

    Raises: InputError if data, sizes, weights or `out` cannot be used: nothing is written then;
    or if another process is writing in `out`.
    NonFiniteLoss, KeyboardInterrupt: model.keras is the best model so far, if there is one.
    """
    settings.check()
    task = settings.task
    refuse_unknown_protocols(task)
    if settings.data is None and task.phantom_recipe is not None:
        log.info(
            f"No --data given: training on phantoms, artificial images of the {task.name} task "
            "with exact masks. Scores on phantoms say nothing about patients."
        )
    options = {"resume": resume, "distributed": devices or job, "job": job, "epochs": epochs}
    if job is not None and job[2] > 0:  # only the first process writes
        train_run(settings, Path(out), first=False, **options)
        return Path(out)
    exporter = find_exporter() if export else None
    with writing_run(out, task.name, resume) as run, Trackers(run, track) as trackers:
        options["trackers"] = trackers
        splits, settings, model = train_run(settings, run, first=True, **options)
        if not exported_elsewhere(exporter, job):
            finish(settings, run, splits, model, keep_checkpoints, exporter is not None, report)
            trackers.tell_scores(settings)
    if exported_elsewhere(exporter, job):
        options = {"--keep-checkpoints": keep_checkpoints, "--no-report": not report}
        asked = [option for option, given in options.items() if given]
        name = {"tensorflow": "TensorFlow", "torch": "PyTorch"}[exporter]
        log.info(f"Going on with {name}, to score and export the model")
        asked = ["train", "--resume", "--out", str(run), *asked]
        if code := run_by(exporter, asked):
            sys.exit(code)  # it has said why
    elif export and not has_tensorflow():
        log.warning(describe_left_out(run))
    return run


def exported_elsewhere(exporter, job):
    """Whether a process of its own ends the run, with the backend that `find_exporter` names.

    One of a cluster of TensorFlow would write its place in the cluster into a SavedModel.
    """
    own = keras.backend.backend()
    return exporter not in (None, own) or (exporter == "tensorflow" and job is not None)


def describe_left_out(run):
    """What a run lacks because TensorFlow is not installed, and what writes it."""
    command = f"transfuse export --model {run} --format"
    sentences = [
        f"TensorFlow is not installed, so {run} has no saved_model and no model.tflite. Where it "
        f"is installed, write them by: {command} saved_model litert"
    ]
    if missing := find_missing_for_onnx():
        are = "is" if len(missing) == 1 else "are"
        sentences.append(
            f"{' and '.join(missing)} {are} not installed, so it has no model.onnx. Write it after "
            f"pip install 'transfuse-keras[torch]' by: {command} onnx"
        )
    return "\n".join(sentences)


def train_run(settings, run, first, resume, distributed, job, epochs, trackers=None):
    """Train a run to its last epoch.

    Args:
        run: Path of the run folder.
        first: whether this process writes files.
        distributed: whether to train on all devices.
        trackers: Trackers; needed by the process that writes files alone.
        settings, resume, job, epochs: as of `train_task`.

    Returns: {"train", "val", "test"} -> list of Sample; the Settings, with `epochs`; and the model
    that was trained, None where it must be loaded to be scored in float32 on one device.
    """
    splits = find_run_splits(settings)
    if not resume:  # a run keeps the ranges and the augmentation that it began with
        task, splits = fix_ranges(settings.task, splits)
        task = fix_augmentation(task, splits["train"])
        settings = replace(settings, task=task)
    progress = checkpoints.Progress()
    if resume:
        refuse_other_split(run, splits)
        if first:
            remove_leftovers(run)
            begin_log(run)
        progress = checkpoints.find_progress(run, monitor_of(settings))
        if progress.epochs < settings.restart:  # the checkpoint that it went on from is lost
            settings = replace(settings, restart=progress.epochs)
            if first:
                keep_settings(run, settings)
    if epochs is not None:
        settings = lengthen(settings, run, epochs, progress, first)
    best, model = run / "checkpoints" / checkpoints.BEST, None
    try:
        if not has_ended(progress, settings) or progress.mend:
            with joined(*job) if job else nullcontext():
                model = fit_model(settings, splits, run, progress, distributed, trackers)
    finally:
        if first and best.is_file():
            with replacing(run / "model.keras") as temporary:
                shutil.copyfile(best, temporary)
    plain = settings.precision == "float32" and not distributed
    return splits, settings, model if plain else None


def find_run_splits(settings):
    """The samples that settings ask for, {"train", "val", "test"} -> list of Sample.

    Without validation, training and validation samples together are trained on.

    Raises: InputError if a split has none, or if the validation samples are those scored.
    """
    size = settings.recipe.image_size
    splits = find_splits(
        settings.task,
        settings.data,
        size,
        settings.seed,
        settings.spacing,
        settings.fold,
        settings.masks,
        settings.group,
    )
    if not settings.validation:
        if {sample.name for sample in splits["val"]} & {sample.name for sample in splits["test"]}:
            raise InputError(
                f"{settings.data}: has no test split, so its validation images are scored; they "
                "cannot be trained on (--val none)."
            )
        splits |= {"train": splits["train"] + splits["val"], "val": []}
        log.info("No validation: all but the test images are trained on, the last epoch is kept.")
    splits["train"] = limit_samples(splits["train"], settings.limit, settings.seed)
    for part, samples in splits.items():
        if not samples and (part != "val" or settings.validation):
            raise InputError(f"{settings.data}: has no samples to use as {part} split.")
    return splits


def lengthen(settings, run, epochs, progress, first):
    """The Settings of a run that goes on to `epochs`; its config.json says so from now on.

    Args:
        progress: its Progress.
        first: whether this process writes files.

    Raises: InputError if it has so many epochs already, or no checkpoint to go on from.
    """
    recipe = settings.recipe
    if epochs <= max(progress.epochs, recipe.epochs):
        raise InputError(
            f"--epochs {epochs}: {run} has {quantity(recipe.epochs, 'epoch')}; give more, or leave "
            "it out."
        )
    if progress.checkpoint is None:
        raise InputError(
            f"{run}: has no checkpoint to go on from; a complete run keeps them with "
            f"--keep-checkpoints. Start a new run with --weights {run}."
        )
    log.info(f"Going on to {quantity(epochs, 'epoch')} instead of {recipe.epochs}.")
    if recipe.warm_up is not None:
        log.info(f"The learning rate follows a new cosine from epoch {progress.epochs + 1} on.")
    settings = replace(settings, recipe=replace(recipe, epochs=epochs), restart=progress.epochs)
    if first:
        (run / COMPLETE).unlink(missing_ok=True)
        keep_settings(run, settings)
    return settings


def finish(settings, run, splits, model, keep_checkpoints, export, report):
    """Score, export and report a run, all epochs of which are trained.

    `model` is the trained one, which is given its best weights: to build another takes
    seconds. Without it the best is loaded.
    """
    if settings.data is not None:
        complete_split(run, splits, settings.recipe.image_size, settings.task.field)
    data = "phantom" if settings.data is None else str(settings.data)
    if model is None:
        model = load_model(run / "model.keras")
    else:
        checkpoints.take_weights(model, run / "model.keras")
    try:
        write_results(run, model, settings.task, splits, data, settings.threshold, export, report)
    finally:
        if (run / COMPLETE).is_file() and not keep_checkpoints:
            remove(run / "checkpoints")
    names = ["report.html"] * report + ["model.keras"]
    names += [*exported_files().values()][-1:] if export else []
    log.info("Done: " + ", ".join(f"{run}/{name}" for name in names))


def run_by(backend, arguments):
    """Run `transfuse ARGUMENTS` in a process with this backend, on the CPU. Returns: exit code."""
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": path}
    environment["CUDA_VISIBLE_DEVICES"] = "-1"  # this process may hold the memory of the GPUs
    for variable in ("TF_CONFIG", "WORLD_SIZE"):  # the other processes of the job have ended
        environment.pop(variable, None)
    command = [sys.executable, "-m", "transfuse_keras", *arguments]
    return subprocess.run(command, env=environment).returncode
