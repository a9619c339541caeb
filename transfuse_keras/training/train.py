"""Training a task from start to end: data, model, fit, and the run folder it leaves."""

import logging
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import keras

from transfuse_keras.data.cache import count_images, read_part
from transfuse_keras.data.copies import find_copies, take_fingerprints, warn_of_lookalikes
from transfuse_keras.data.order import Order
from transfuse_keras.data.pipeline import batches
from transfuse_keras.data.splits import find_splits, limit_samples
from transfuse_keras.devices import (
    JIT,
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
from transfuse_keras.files import replacing
from transfuse_keras.metrics.streaming import DiceScore, IoUScore
from transfuse_keras.model.load import load_model, load_weights
from transfuse_keras.model.transfuse import TransFuse
from transfuse_keras.runs.folder import (
    begin_run,
    choose_run_folder,
    refuse_other_split,
    remove_leftovers,
)
from transfuse_keras.training import checkpoints
from transfuse_keras.training.callbacks import BeginEpoch, StopOnNonFiniteLoss, WriteHistory
from transfuse_keras.training.finish import write_results
from transfuse_keras.training.hosts import joined
from transfuse_keras.training.optimizer import create_optimizer

log = logging.getLogger(__name__)


MONITOR = "val_mask_dice"


def train(settings, out=None, resume=False, devices=None, job=None):
    """Train a task and leave a run folder.

    Args:
        settings: Settings; to go on with a run, its own (`read_settings`).
        out: the run folder; by default savedmodels/<task>, or the first free <task>-2, ...
        resume: go on with the run in the Path `out` from its newest undamaged checkpoint; the
            result is that of a run that was not interrupted.
        devices: "all" for all devices of this host, see `all_devices`; None for one.
        job: (coordinator, number of processes, index of this one) to train on several hosts, see
            `joined`; `out` must then be a folder that all of them see.

    Returns: Path of the run folder. It holds config.json, split.csv, checkpoints/, logs/
    (TensorBoard), history.csv, model.keras, saved_model/, model.tflite, export.json, cases.csv,
    overlays/, predictions/ (of volumes), report.html and, last, metrics.json. Scored and exported
    is the best model in float32, whatever it was trained in.

    Raises: InputError if data, sizes, weights or `out` cannot be used: nothing is written then.
    NonFiniteLoss, KeyboardInterrupt: model.keras is the best model so far, if there is one.
    """
    settings.check()
    task, recipe = settings.task, settings.recipe
    if settings.data is None and task.phantom_recipe is not None:
        log.info(
            f"No --data given: training on phantoms, artificial images of the {task.name} task "
            "with exact masks. Scores on phantoms say nothing about patients."
        )
    first = job is None or job[2] == 0
    run = choose_run_folder(out, task.name) if first and not resume else Path(out)
    splits = find_splits(
        task,
        settings.data,
        recipe.image_size,
        settings.seed,
        settings.spacing,
        settings.fold,
        settings.masks,
        settings.group,
    )
    splits["train"] = limit_samples(splits["train"], settings.limit, settings.seed)
    for part, samples in splits.items():
        if not samples:
            raise InputError(f"{settings.data}: has no samples to use as {part} split.")
    progress = checkpoints.Progress()
    if resume:
        refuse_other_split(run, splits)
        if first:
            remove_leftovers(run)
        progress = checkpoints.find_progress(run, MONITOR, first)
    best = run / "checkpoints" / checkpoints.BEST
    try:
        if progress.epochs < recipe.epochs:
            with joined(*job) if job else nullcontext():
                fit_model(settings, splits, run, progress, devices or job)
    finally:
        if first and best.is_file():
            with replacing(run / "model.keras") as temporary:
                shutil.copyfile(best, temporary)
    if not first:
        return run
    if keras.backend.backend() != "tensorflow":
        finish_with_tensorflow(run)
        return run
    data = "phantom" if settings.data is None else str(settings.data)
    write_results(run, load_model(best), task, splits, data, settings.threshold)
    log.info(f"Done: {run}/report.html, {run}/model.keras, {run}/model.tflite")
    return run


def finish_with_tensorflow(run):
    """Score and export a run, all epochs of which were trained on another backend."""
    log.info("Scoring and exporting with TensorFlow")
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "PYTHONPATH": path}
    command = [sys.executable, "-m", "transfuse_keras", "train", "--resume", "--out", str(run)]
    code = subprocess.run(command, env=environment).returncode
    if code:
        sys.exit(code)  # it has said why


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
    with all_devices() if distributed else nullcontext(), computing_in(settings.precision):
        check_devices(settings.recipe.batch_size, settings.precision, JIT[settings.jit])
        order = create_order(settings, splits["train"])
        model = create_model(settings, len(order), load=progress.checkpoint is None)
        log.info(describe_computing(model, settings.precision, settings.jit))
        training, validation, prints = read_batches(settings, splits, model.normalization, order)
        callbacks = [BeginEpoch(order), StopOnNonFiniteLoss()]
        if is_first():
            begin_run(run, settings, splits, prints)
            log.info(f"Run folder: {run}")
            callbacks += [
                WriteHistory(run / "history.csv", progress.rows),
                checkpoints.SaveCheckpoints(run / "checkpoints", MONITOR, progress.best),
                keras.callbacks.TensorBoard(run / "logs", write_graph=False),
            ]
        if progress.checkpoint is not None:
            log.info(f"Going on after epoch {progress.epochs} from {progress.checkpoint}")
            checkpoints.restore(model, progress.checkpoint)
        model.fit(
            training,
            validation_data=validation,
            initial_epoch=progress.epochs,
            epochs=settings.recipe.epochs,
            shuffle=False,  # the dataset is
            verbose=(1 if sys.stdout.isatty() else 2) if is_first() else 0,
            callbacks=callbacks,
        )


def create_order(settings, samples):
    """The Order of this process's part of the training samples."""
    count, whole = count_images(samples), replicas() > 1
    return Order(count, settings.recipe.batch_size, settings.seed, processes(), whole)


def read_batches(settings, splits, normalization, order):
    """Training and validation batches of this process, the former in the given Order, and sample
    name -> Fingerprint where this process reads all.

    Raises: InputError if a sample cannot be read, or two splits share an image.
    """
    task, recipe = settings.task, settings.recipe
    part, shared = order.part, replicas() > 1
    log.info("Reading " + ", ".join(f"{len(x)} {name}" for name, x in splits.items()))
    arrays = {
        name: read_part(splits[name], recipe.image_size, task.field, part)
        for name in ("train", "val")
    }
    prints = None
    if part[1] == 1:
        prints = refuse_copies(splits, arrays, recipe.image_size, task.field)
    else:
        log.info("Each process reads its share: `transfuse check` tells if splits share an image.")
    in_turn = Order(count_images(splits["val"]), recipe.batch_size, None, part)
    training = batches(*arrays["train"], task, normalization, order, augmented=True)
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
            load_weights(model, settings.weights, settings.skip_heads)
    except ValueError as error:
        raise InputError(str(error)) from error
    # Keras puts the head's name before them only where there are several heads
    head = "" if len(model.output) > 1 else "mask_"
    scores = [DiceScore(classes, name=f"{head}dice"), IoUScore(classes, name=f"{head}iou")]
    model.compile(
        create_optimizer(recipe, batches),
        weighted_metrics={"mask": scores},
        jit_compile=JIT[settings.jit],
        scales=recipe.scales,
    )
    return model
