"""Training a task from start to end: data, model, fit, and the run folder it leaves."""

import logging
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import keras

from transfuse_keras.data.cache import count_images, read_part
from transfuse_keras.data.copies import find_copies, take_fingerprints, warn_of_lookalikes
from transfuse_keras.data.order import Order
from transfuse_keras.data.pipeline import batches
from transfuse_keras.data.splits import find_splits, limit_samples
from transfuse_keras.data.value_range import fix_value_range
from transfuse_keras.devices import (
    all_devices,
    check_devices,
    compute_deterministically,
    computing_in,
    describe_computing,
    is_first,
    processes,
    replicas,
)
from transfuse_keras.errors import InputError
from transfuse_keras.files import remove, remove_leftovers, replacing, write_json
from transfuse_keras.metrics.streaming import DiceScore, IoUScore
from transfuse_keras.model.initial_weights import pin_downloads
from transfuse_keras.model.load import load_model, load_weights
from transfuse_keras.model.transfuse import TransFuse
from transfuse_keras.runs.folder import (
    COMPLETE,
    CONFIG,
    begin_run,
    refuse_other_split,
    writing_run,
)
from transfuse_keras.runs.logfile import begin_log, logging_to_folder
from transfuse_keras.runs.settings import JIT, describe_settings
from transfuse_keras.training import checkpoints
from transfuse_keras.training.callbacks import (
    BeginEpoch,
    ScoreMeanWeights,
    StopEarly,
    StopOnNonFiniteLoss,
    WriteHistory,
    has_stopped,
)
from transfuse_keras.training.finish import write_results
from transfuse_keras.training.hosts import joined
from transfuse_keras.training.optimizer import create_optimizer
from transfuse_keras.versions import has_tensorflow

log = logging.getLogger(__name__)


MONITOR = "val_mask_dice"


# What the weights start from. Each step replaces what the step before gave:
# 1. random numbers, drawn with settings.seed;
# 2. --weights imagenet or a folder: the published weights of the branches, the rest stays random;
# 3. --weights with a run, a .keras file or the authors' checkpoint: all layers, or with
#    --skip-heads all but the heads;
# 4. --resume: the newest undamaged checkpoint of the run; 2 and 3 are then left out.
@logging_to_folder()
def train(
    settings,
    out=None,
    resume=False,
    devices=None,
    job=None,
    epochs=None,
    keep_checkpoints=False,
    export=True,
    report=True,
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
        export: whether to write saved_model/, model.tflite and export.json.
        report: whether to write report.html.

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
    if settings.data is None and task.phantom_recipe is not None:
        log.info(
            f"No --data given: training on phantoms, artificial images of the {task.name} task "
            "with exact masks. Scores on phantoms say nothing about patients."
        )
    options = {"resume": resume, "distributed": devices or job, "job": job, "epochs": epochs}
    if job is not None and job[2] > 0:  # only the first process writes
        train_run(settings, Path(out), first=False, **options)
        return Path(out)
    with writing_run(out, task.name, resume) as run:
        splits, settings = train_run(settings, run, first=True, **options)
        alone = keras.backend.backend() == "tensorflow" or not has_tensorflow()
        if alone:
            finish(settings, run, splits, keep_checkpoints, export and has_tensorflow(), report)
    if alone and export and not has_tensorflow():
        log.warning(
            f"TensorFlow is not installed, so {run} has no saved_model and no model.tflite. Where "
            f"it is installed, write them by: transfuse export --model {run} --format saved_model "
            "litert"
        )
    if not alone:
        options = {
            "--keep-checkpoints": keep_checkpoints,
            "--no-export": not export,
            "--no-report": not report,
        }
        asked = [option for option, given in options.items() if given]
        log.info("Going on with TensorFlow, to score the model")
        if code := run_with_tensorflow(["train", "--resume", "--out", str(run), *asked]):
            sys.exit(code)  # it has said why
    return run


def train_run(settings, run, first, resume, distributed, job, epochs):
    """Train a run to its last epoch.

    Args:
        run: Path of the run folder.
        first: whether this process writes files.
        distributed: whether to train on all devices.
        settings, resume, job, epochs: as of `train`.

    Returns: {"train", "val", "test"} -> list of Sample, and the Settings, with `epochs`.
    """
    splits = find_run_splits(settings)
    if not resume:  # a run keeps the range, or the lack of one, that it began with
        task, splits = fix_value_range(settings.task, splits)
        settings = replace(settings, task=task)
    progress = checkpoints.Progress()
    if resume:
        refuse_other_split(run, splits)
        if first:
            remove_leftovers(run)
            begin_log(run)
        progress = checkpoints.find_progress(run, monitor_of(settings))
    if epochs is not None:
        settings = lengthen(settings, run, epochs, progress, first)
    recipe, best = settings.recipe, run / "checkpoints" / checkpoints.BEST
    try:
        if not has_ended(progress, recipe) or progress.mend:
            with joined(*job) if job else nullcontext():
                fit_model(settings, splits, run, progress, distributed)
    finally:
        if first and best.is_file():
            with replacing(run / "model.keras") as temporary:
                shutil.copyfile(best, temporary)
    return splits, settings


def has_ended(progress, recipe):
    """Whether a training is at its last epoch, or has stopped before."""
    stopped = has_stopped(progress.rows, recipe.patience, MONITOR)
    return stopped or progress.epochs >= recipe.epochs


def monitor_of(settings):
    """Name of the score by which a model is the best; None without validation: the last is."""
    return MONITOR if settings.validation else None


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
            f"--epochs {epochs}: {run} is of {recipe.epochs} epochs; give more, or leave it out."
        )
    if progress.checkpoint is None:
        raise InputError(
            f"{run}: has no checkpoint to go on from; a complete run keeps them with "
            f"--keep-checkpoints. Start a new run with --weights {run}."
        )
    log.info(f"Going on to {epochs} epochs instead of {recipe.epochs}.")
    restart = settings.restart
    if recipe.warm_up is not None:
        restart = progress.epochs
        log.info(f"The learning rate follows a new cosine from epoch {restart + 1} on.")
    settings = replace(settings, recipe=replace(recipe, epochs=epochs), restart=restart)
    if first:
        (run / COMPLETE).unlink(missing_ok=True)
        write_json(run / CONFIG, describe_settings(settings))
    return settings


def finish(settings, run, splits, keep_checkpoints, export, report):
    """Score, export and report a run, all epochs of which are trained."""
    data = "phantom" if settings.data is None else str(settings.data)
    model = load_model(run / "model.keras")
    try:
        write_results(run, model, settings.task, splits, data, settings.threshold, export, report)
    finally:
        if (run / COMPLETE).is_file() and not keep_checkpoints:
            remove(run / "checkpoints")
    names = ["report.html"] * report + ["model.keras"] + ["model.tflite"] * export
    log.info("Done: " + ", ".join(f"{run}/{name}" for name in names))


def run_with_tensorflow(arguments):
    """Run `transfuse ARGUMENTS` in a process with the TensorFlow backend. Returns: exit code."""
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "PYTHONPATH": path}
    environment["CUDA_VISIBLE_DEVICES"] = "-1"  # this process may hold the memory of the GPUs
    command = [sys.executable, "-m", "transfuse_keras", *arguments]
    return subprocess.run(command, env=environment).returncode


def fit_model(settings, splits, run, progress, distributed):
    """Train from where `progress` is to the last epoch.

    Args:
        settings: Settings.
        splits: {"train", "val", "test"} -> list of Sample.
        run: Path of the run folder, which is begun here.
        progress: Progress.
        distributed: whether to train on all devices.
    """
    if settings.deterministic:
        compute_deterministically()
    keras.utils.set_random_seed(settings.seed)
    if progress.checkpoint is None:
        settings = replace(settings, downloads=pin_downloads(settings))
    recipe = settings.recipe
    with all_devices() if distributed else nullcontext(), computing_in(settings.precision):
        check_devices(recipe.batch_size, settings.precision, JIT[settings.jit])
        order = create_order(settings, splits["train"])
        model = create_model(settings, len(order), load=progress.checkpoint is None)
        log.info(describe_computing(model, settings.precision, settings.jit))
        training, validation, prints = read_batches(settings, splits, model.normalization, order)
        callbacks = [BeginEpoch(order), StopOnNonFiniteLoss()]
        if recipe.ema:
            callbacks.append(ScoreMeanWeights())
        if recipe.patience:
            callbacks.append(StopEarly(recipe.patience, MONITOR, progress.rows))
        if is_first():
            begin_run(run, settings, splits, prints)
            log.info(f"Run folder: {run}")
            callbacks += [
                WriteHistory(run / "history.csv", progress.rows),
                checkpoints.SaveCheckpoints(
                    run / "checkpoints", monitor_of(settings), progress.best
                ),
            ]
            if has_tensorflow():  # which writes its files
                callbacks.append(keras.callbacks.TensorBoard(run / "logs", write_graph=False))
        if progress.checkpoint is not None:
            log.info(f"Going on after epoch {progress.epochs} from {progress.checkpoint}")
            checkpoints.restore(model, progress.checkpoint)
            if progress.mend and is_first():
                checkpoints.save_best(model, run / "checkpoints", progress.epochs)
            if has_ended(progress, recipe):
                return
        model.fit(
            training,
            validation_data=validation,
            initial_epoch=progress.epochs,
            epochs=recipe.epochs,
            shuffle=False,  # the dataset is
            verbose=(1 if sys.stdout.isatty() else 2) if is_first() else 0,
            callbacks=callbacks,
        )


def create_order(settings, samples):
    """The Order of this process's part of the training samples."""
    recipe, count, whole = settings.recipe, count_images(samples), replicas() > 1
    return Order(count, recipe.batch_size, settings.seed, processes(), whole, recipe.foreground)


def read_batches(settings, splits, normalization, order):
    """Training and validation batches of this process, the former in the given Order, which
    learns which images show a class, and sample name -> Fingerprint where this process reads all.
    The second is None without validation.

    Raises: InputError if a sample cannot be read, or two splits share an image.
    """
    task, recipe = settings.task, settings.recipe
    part, shared = order.part, replicas() > 1
    log.info("Reading " + ", ".join(f"{len(x)} {name}" for name, x in splits.items()))
    arrays = {
        name: read_part(splits[name], recipe.image_size, task.field, part)
        for name in ("train", "val")
        if splits[name]
    }
    prints = None
    if part[1] == 1:
        prints = refuse_copies(splits, arrays, recipe.image_size, task.field)
    else:
        log.info("Each process reads its share: `transfuse check` tells if splits share an image.")
    order.foreground = (arrays["train"][1] == 1).any(axis=(1, 2, 3))
    training = batches(*arrays["train"], task, normalization, order, augmented=True)
    if not settings.validation:
        return training, None, prints
    in_turn = Order(count_images(splits["val"]), recipe.batch_size, None, part)
    validation = batches(*arrays["val"], task, normalization, in_turn, padded=shared)
    return training, validation, prints


def refuse_copies(splits, arrays, size, field):
    """Warn of images in two splits that look alike.

    Returns: sample name -> Fingerprint.

    Raises: InputError if two splits share an image, or a test sample cannot be read.
    """
    prints = {}
    for part, samples in splits.items():
        if any(sample.name not in prints for sample in samples):
            images = arrays[part][0] if part in arrays else None
            prints.update(take_fingerprints(samples, images, size, field))
    errors, _ = find_copies(splits, prints)
    if errors:
        raise InputError(errors[0])
    for warning in warn_of_lookalikes(splits, prints):
        log.warning(warning)
        splits.warnings.append(warning)  # kept with the run
    return prints


def create_model(settings, batches, load=True):
    """A compiled TransFuse.

    Args:
        settings: Settings.
        batches: number of training batches in an epoch.
        load: whether to load `settings.weights`.

    Raises: InputError if a value cannot be used.
    """
    task, recipe, classes = settings.task, settings.recipe, len(settings.task.classes)
    try:
        model = TransFuse(
            recipe.variant,
            (*recipe.image_size, task.channels),
            classes,
            dropout=recipe.dropout,
            normalization=task.normalization,
        )
        if load and settings.weights is not None:
            load_weights(model, settings.weights, settings.skip_heads, settings.downloads)
    except ValueError as error:
        raise InputError(str(error)) from error
    # Keras puts the head's name before them only where there are several heads
    head = "" if len(model.output) > 1 else "mask_"
    scores = [DiceScore(classes, name=f"{head}dice"), IoUScore(classes, name=f"{head}iou")]
    model.compile(
        create_optimizer(recipe, batches, settings.restart),
        weighted_metrics={"mask": scores},
        jit_compile=JIT[settings.jit],
        scales=recipe.scales,
    )
    return model
