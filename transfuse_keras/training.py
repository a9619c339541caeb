"""Training a task from start to end: data, model, fit, and the run folder it leaves."""

import csv
import platform
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import cv2
import keras
import numpy as np
import tensorflow as tf

from transfuse_keras.callbacks import KeepBest, StopOnNonFiniteLoss, WriteHistory
from transfuse_keras.data.cache import read_resized
from transfuse_keras.data.check import digests_of, find_copies
from transfuse_keras.data.pipeline import batches, find_splits
from transfuse_keras.errors import InputError
from transfuse_keras.files import first_free, replacing, write_json
from transfuse_keras.metrics import DiceScore, IoUScore
from transfuse_keras.results import write_results
from transfuse_keras.transfuse import TransFuse
from transfuse_keras.weights import load_weights


def train(
    task,
    data=None,
    recipe=None,
    weights=None,
    skip_heads=False,
    seed=0,
    limit=None,
    out=None,
    spacing=None,
    threshold=None,
    fold=None,
):
    """Train a task and leave a run folder.

    Args:
        task: Task.
        data: folder in a known layout; None trains on the task's phantoms and says so.
        recipe: Recipe; by default the task's own for data or for phantoms.
        weights: None, or what to start from, see `load_weights`.
        skip_heads: leave the heads random when loading weights, to train other classes.
        seed: of the initial weights, order, augmentation, dropout and phantoms.
        limit: use at most this many training samples.
        out: the run folder; by default savedmodels/<task>, or the first free <task>-2, ...
        spacing: (row, column) mm of images whose pixel spacing is not known otherwise.
        threshold: a probability, "auto" for the best on the validation split, None for 0.5.
        fold: (index, count) of a cross-validation: that part of the patients is tested on.

    Returns: Path of the run folder. It holds config.json, split.csv, checkpoints/best.keras,
    logs/ (TensorBoard), history.csv, model.keras, saved_model/, model.tflite, export.json,
    cases.csv, overlays/, predictions/ (of volumes), report.html and, last, metrics.json.

    Raises: InputError if data, sizes, weights or `out` cannot be used: nothing is written then.
    NonFiniteLoss, KeyboardInterrupt: model.keras is the best model so far, if there is one.
    """
    recipe = recipe or (data is None and task.phantom_recipe) or task.recipe
    if data is None and task.phantom_recipe is not None:
        print(
            f"No --data given: training on phantoms, artificial images of the {task.name} task "
            "with exact masks. Scores on phantoms say nothing about patients."
        )
    check_numbers(recipe, seed, limit)
    run = choose_folder(out, task.name)
    splits = find_splits(task, data, recipe.image_size, seed, spacing, fold)
    splits["train"] = splits["train"][:limit]
    for part, samples in splits.items():
        if not samples:
            raise InputError(f"{data}: has no samples to use as {part} split.")
    keras.utils.set_random_seed(seed)
    model = create_model(task, recipe, weights, skip_heads)
    print("Reading " + ", ".join(f"{len(part)} {name}" for name, part in splits.items()))
    arrays = {
        part: read_resized(splits[part], recipe.image_size, task.field) for part in ("train", "val")
    }
    refuse_copies(splits, arrays, recipe.image_size, task.field)
    settings = task, recipe.batch_size, model.normalization
    training = batches(*arrays["train"], *settings, seed=seed, augmented=True)
    validation = batches(*arrays["val"], *settings)

    print(f"Run folder: {run}")
    best = run / "checkpoints" / "best.keras"
    best.parent.mkdir(parents=True)
    config = {
        **describe(task, data, recipe, weights, skip_heads, seed, limit),
        **{"spacing": spacing, "threshold": threshold, "fold": fold},
    }
    write_json(run / "config.json", config)
    write_split(run / "split.csv", splits)
    try:
        model.fit(
            training,
            validation_data=validation,
            epochs=recipe.epochs,
            shuffle=False,  # the dataset is
            verbose=1 if sys.stdout.isatty() else 2,
            callbacks=[
                StopOnNonFiniteLoss(),
                KeepBest(best, monitor="val_mask_dice"),
                WriteHistory(run / "history.csv"),
                keras.callbacks.TensorBoard(run / "logs", write_graph=False),
            ],
        )
    finally:
        if best.is_file():
            with replacing(run / "model.keras") as temporary:
                shutil.copyfile(best, temporary)
    model.load_weights(best)
    data_name = "phantom" if data is None else str(data)
    write_results(run, model, task, splits, data_name, threshold)
    return run


def check_numbers(recipe, seed, limit):
    """Raise InputError if a number cannot be trained with."""
    numbers = {
        "epochs": recipe.epochs,
        "batch size": recipe.batch_size,
        "learning rate": recipe.learning_rate,
        "limit": 1 if limit is None else limit,
    }
    for name, number in numbers.items():
        if not number > 0:
            raise InputError(f"The {name} must be positive, not {number}.")
    if not 0 <= seed < 2**32:
        raise InputError(f"The seed must be between 0 and {2**32 - 1}, not {seed}.")


def refuse_copies(splits, arrays, size, field):
    """Raise InputError if two splits share an image, or a test sample cannot be read."""
    digests = {}
    for part, samples in splits.items():
        if any(sample.name not in digests for sample in samples):
            images = arrays[part][0] if part in arrays else None
            digests.update(digests_of(samples, images, size, field))
    errors, _ = find_copies(splits, digests)
    if errors:
        raise InputError(errors[0])


def choose_folder(out, name):
    """The run folder: `out` if it is new or empty, else the first free savedmodels/<name>[-N]."""
    if out is not None:
        run = Path(out)
        if run.exists() and (not run.is_dir() or any(run.iterdir())):
            raise InputError(f"{run}: already holds something else; give --out a new folder.")
        return run
    return first_free(Path("savedmodels") / name)


def create_model(task, recipe, weights=None, skip_heads=False):
    """A compiled TransFuse for a recipe; InputError if a value of it cannot be used."""
    classes = len(task.classes)
    try:
        model = TransFuse(
            recipe.variant,
            (*recipe.image_size, task.channels),
            classes,
            normalization=task.normalization,
        )
        if weights is not None:
            load_weights(model, weights, skip_heads)
    except ValueError as error:
        raise InputError(str(error)) from error
    beta_1, beta_2 = recipe.betas
    adam = keras.optimizers.Adam(
        recipe.learning_rate, beta_1=beta_1, beta_2=beta_2, global_clipnorm=recipe.clip_norm
    )
    scores = [DiceScore(classes, name="dice"), IoUScore(classes, name="iou")]
    model.compile(adam, metrics={"mask": scores}, scales=recipe.scales)
    return model


def describe(task, data, recipe, weights, skip_heads, seed, limit):
    """Everything needed to repeat a run, as plain data."""
    return {
        "task": asdict(task),
        "data": "phantom" if data is None else str(Path(data).resolve()),
        "recipe": asdict(recipe),
        "weights": weights if weights in (None, "imagenet") else str(Path(weights).resolve()),
        "skip_heads": skip_heads,
        "seed": seed,
        "limit": limit,
        "backend": keras.backend.backend(),
        "versions": {
            "python": platform.python_version(),
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
            "numpy": np.__version__,
            "opencv": cv2.__version__,
        },
    }


def write_split(path, splits):
    """Write which sample was in which split."""
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["split", "group", "sample"])
        for part, samples in splits.items():
            writer.writerows([part, sample.group, sample.name] for sample in samples)
