"""Fitting the model of a run: samples in, batches, a compiled model, epochs, checkpoints."""

import logging
import sys
import time
from contextlib import nullcontext
from dataclasses import replace

import keras

from transfuse_keras.data.cache import count_images, read_part
from transfuse_keras.data.copies import find_copies, take_fingerprints, warn_of_lookalikes
from transfuse_keras.data.order import Order
from transfuse_keras.data.pipeline import batches
from transfuse_keras.data.white_balance import balance_colours, find_mean_colour
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
from transfuse_keras.metrics.streaming import DiceScore, IoUScore
from transfuse_keras.model.initial_weights import pin_downloads
from transfuse_keras.model.load import load_weights
from transfuse_keras.model.losses import StructureLoss
from transfuse_keras.model.transfuse import LOSS_WEIGHTS, TransFuse
from transfuse_keras.runs.folder import CONFIG, begin_run
from transfuse_keras.runs.processor import suggest_precision
from transfuse_keras.runs.samples import refuse_other_pixels
from transfuse_keras.runs.settings import JIT
from transfuse_keras.training import checkpoints
from transfuse_keras.training.auto_batch import choose_batch
from transfuse_keras.training.callbacks import (
    BeginEpoch,
    NoteSession,
    ScoreMeanWeights,
    StopEarly,
    StopOnNonFiniteLoss,
    WriteHistory,
    has_stopped,
    write_for_tensorboard,
)
from transfuse_keras.training.live import LIVE, DrawCases, TellEpoch
from transfuse_keras.training.optimizer import create_optimizer
from transfuse_keras.training.time_limit import EndInTime, limit_epochs, measure_epoch

log = logging.getLogger(__name__)

MONITOR = "val_mask_dice"


def has_ended(progress, settings):
    """Whether a training is at its last epoch, or has stopped before."""
    recipe, rows = settings.recipe, progress.rows[settings.restart :]
    return has_stopped(rows, recipe.patience, MONITOR) or progress.epochs >= recipe.epochs


def monitor_of(settings):
    """Name of the score by which a model is the best; None without validation: the last is."""
    return MONITOR if settings.validation else None


def fit_model(settings, splits, run, progress, distributed, trackers):
    """Train from where `progress` is to the last epoch.

    Args:
        settings: Settings.
        splits: {"train", "val", "test"} -> list of Sample.
        run: Path of the run folder, which is begun here.
        progress: Progress.
        distributed: whether to train on all devices.
        trackers: Trackers; needed by the process that writes files alone.

    Returns: the model as it is after the last epoch.
    """
    begun = time.perf_counter()
    if settings.deterministic:
        compute_deterministically()
    keras.utils.set_random_seed(settings.seed)
    if progress.checkpoint is None:
        settings = replace(settings, downloads=pin_downloads(settings))
    if settings.recipe.white_balance is True:
        colour = find_mean_colour(splits["train"])
        log.info(
            f"White balance: every image gets the mean colour of the training images, {colour}."
        )
        settings = replace(settings, recipe=replace(settings.recipe, white_balance=colour))
    recipe = settings.recipe
    with all_devices() if distributed else nullcontext(), computing_in(settings.precision):
        check_devices(recipe.batch_size, settings.precision, JIT[settings.jit])
        order = create_order(settings, splits["train"])
        model = create_model(settings, len(order), load=progress.checkpoint is None)
        fresh = not (run / CONFIG).is_file()  # else the run keeps what was chosen
        if settings.auto_batch and fresh:
            settings = choose_batch(model, settings, order.count)
            recipe, order = settings.recipe, create_order(settings, splits["train"])
            compile_model(model, settings, len(order))
        log.info(describe_computing(model, settings.precision, settings.jit))
        if faster := suggest_precision(settings.precision):
            log.info(faster)
        training, validation, prints = read_batches(settings, splits, model.normalization, order)
        if prints is not None:  # each of several processes reads a part
            refuse_other_pixels(run, prints)
        callbacks = [BeginEpoch(order), StopOnNonFiniteLoss()]
        if settings.time_limit and fresh:
            seconds = measure_epoch(model, training, validation, len(order))
            used = time.perf_counter() - begun
            epochs, left = limit_epochs(settings.time_limit, used, seconds)
            recipe = replace(recipe, epochs=epochs)
            settings = replace(settings, recipe=recipe)
            compile_model(model, settings, len(order))
            if is_first():
                callbacks.append(EndInTime(left, run))
        if recipe.ema:
            callbacks.append(ScoreMeanWeights())
        if recipe.patience:
            rows = progress.rows[settings.restart :]
            callbacks.append(StopEarly(recipe.patience, MONITOR, rows))
        if is_first():
            begin_run(run, settings, splits, prints)
            trackers.begin(settings, progress.rows)
            log.info(f"Run folder: {run}")
            callbacks += [
                NoteSession(run),
                TellEpoch(recipe.epochs, monitor_of(settings)),
                keras.callbacks.LambdaCallback(
                    on_epoch_end=lambda epoch, logs: trackers.tell(epoch + 1, logs)
                ),
                WriteHistory(run / "history.csv", progress.rows),
                checkpoints.SaveCheckpoints(
                    run / "checkpoints", monitor_of(settings), progress.best
                ),
            ]
            # on several devices all would have to predict together
            if settings.validation and replicas() == 1:
                callbacks.append(DrawCases(run / LIVE, splits["val"], settings.task))
            callbacks += write_for_tensorboard(run / "logs")
        if progress.checkpoint is not None:
            log.info(f"Going on after epoch {progress.epochs} from {progress.checkpoint}")
            checkpoints.restore(model, progress.checkpoint)
            if progress.mend and is_first():
                checkpoints.save_best(model, run / "checkpoints", progress.epochs)
            if has_ended(progress, settings):
                return model
        order.epoch = progress.epochs  # Keras loads batches before it begins an epoch
        model.fit(
            training,
            validation_data=validation,
            initial_epoch=progress.epochs,
            epochs=recipe.epochs,
            shuffle=False,  # the dataset is
            verbose=1 if is_first() and sys.stdout.isatty() else 0,
            callbacks=callbacks,
        )
    return model


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
        name: read_part(splits[name], recipe.image_size, task.field, part, task.context)
        for name in ("train", "val")
        if splits[name]
    }
    prints = None
    if part[1] == 1:
        alone = {x: images.slices if task.context else images for x, (images, _) in arrays.items()}
        prints = refuse_copies(splits, alone, recipe.image_size, task.field)
    else:
        log.info("Each process reads its share: `transfuse check` tells if splits share an image.")
    order.foreground = (arrays["train"][1] == 1).any(axis=(1, 2, 3))
    if recipe.white_balance:  # before they are augmented; in validation the model does it
        balance_colours(arrays["train"][0], recipe.white_balance)
    training = batches(
        *arrays["train"], task, normalization, order, augmented=True, pen_marks=recipe.pen_marks
    )
    if not settings.validation:
        return training, None, prints
    in_turn = Order(count_images(splits["val"]), recipe.batch_size, None, part)
    validation = batches(*arrays["val"], task, normalization, in_turn, padded=shared)
    return training, validation, prints


def refuse_copies(splits, images, size, field):
    """Warn of images in two splits that look alike.

    Args:
        splits, size, field: as in `read_resized`.
        images: part -> its images as `read_resized` gives them, where they are read.

    Returns: sample name -> Fingerprint.

    Raises: InputError if two splits share an image, or a test sample cannot be read.
    """
    prints = {}
    for part, samples in splits.items():
        if any(sample.name not in prints for sample in samples):
            prints.update(take_fingerprints(samples, images.get(part), size, field))
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
    task, recipe = settings.task, settings.recipe
    try:
        model = TransFuse(
            recipe.variant,
            (*recipe.image_size, task.inputs),
            len(task.classes),
            dropout=recipe.dropout,
            normalization=task.normalization,
            white_balance=recipe.white_balance or None,
        )
        if load and settings.weights is not None:
            given = settings.weights, settings.skip_heads, settings.downloads
            load_weights(model, *given, context=task.context)
    except ValueError as error:
        raise InputError(str(error)) from error
    compile_model(model, settings, batches)
    return model


def compile_model(model, settings, batches):
    """Compile a TransFuse as settings want it; `batches` as of `create_model`."""
    recipe, classes = settings.recipe, len(settings.task.classes)
    # Keras puts the head's name before them only where there are several heads
    head = "" if len(model.output) > 1 else "mask_"
    scores = [DiceScore(classes, name=f"{head}dice"), IoUScore(classes, name=f"{head}iou")]
    own = {}
    if recipe.class_weights or recipe.focal:
        loss = StructureLoss(class_weights=recipe.class_weights, focal=recipe.focal or 0.0)
        own = {
            "loss": dict.fromkeys(model.output, loss),
            "loss_weights": {head: LOSS_WEIGHTS[head] for head in model.output},
        }
    model.compile(
        create_optimizer(recipe, batches, settings.restart),
        weighted_metrics={"mask": scores},
        jit_compile=JIT[settings.jit],
        scales=recipe.scales,
        **own,
    )
