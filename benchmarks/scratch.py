"""What lifts a training from random weights: candidates for a recipe, one on top of another.

    python benchmarks/scratch.py --skin DIR --hip DIR --out DIR

DIR are folders of the skin and the hip task as `transfuse train --data` takes them. Trains every
candidate on both with two seeds for the same number of epochs and prints a markdown table of the
best validation Dice. Called again with the same --out it goes on where it was stopped.
"""

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import keras
import numpy as np

from transfuse_keras.data.splits import find_splits, limit_samples
from transfuse_keras.files import read_table, remove_leftovers
from transfuse_keras.runs.settings import Settings
from transfuse_keras.tasks import TASKS
from transfuse_keras.tasks.task import RECIPE_CHANGES
from transfuse_keras.training import checkpoints
from transfuse_keras.training.fit import MONITOR, fit_model
from transfuse_keras.training.tracking import Trackers

SIZES = {"skin": (96, 128), "hip": (128, 128)}
LIMIT = 640  # training images at most
SEEDS = (0, 1)
SCHEDULE = {"learning_rate": 1e-3, "betas": (0.9, 0.999), "warm_up": 0.1}

# what a candidate changes in the recipe of a task
CANDIDATES = {
    "the task's own recipe": {},
    "warm-up, cosine, 1e-3, betas .9 .999": SCHEDULE,
    "the above in batches of 8": {**SCHEDULE, "batch_size": 8},
    "the above without dropout": RECIPE_CHANGES["scratch"],
}


def parse_settings(name, data, candidate, seed, epochs):
    """The Settings of one training."""
    task = TASKS[name]
    own = {"variant": "Ti", "image_size": SIZES[name], "epochs": epochs}
    recipe = replace(task.recipe, **own, **CANDIDATES[candidate])
    return Settings(task, data, recipe, seed=seed, limit=LIMIT)


def best_score(settings, run):
    """The best validation Dice of a training, which is done or finished now."""
    splits = find_splits(settings.task, settings.data, settings.recipe.image_size, settings.seed)
    splits["train"] = limit_samples(splits["train"], settings.limit, settings.seed)
    progress = checkpoints.Progress()
    if run.is_dir():
        remove_leftovers(run)
        progress = checkpoints.find_progress(run, MONITOR)
    if progress.epochs < settings.recipe.epochs:
        keras.backend.clear_session()
        fit_model(settings, splits, run, progress, False, Trackers(run, ()))
    return max(float(row[MONITOR]) for row in read_table(run / "history.csv"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--skin", required=True)
    parser.add_argument("--hip", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    count = len(CANDIDATES) * len(SIZES) * len(SEEDS)
    print(f"{count} trainings of {arguments.epochs} epochs, at most {LIMIT} images each.")
    began, lines = time.process_time(), []
    for number, candidate in enumerate(CANDIDATES):
        cells = []
        for name in SIZES:
            scores = []
            for seed in SEEDS:
                run = arguments.out / f"{name}-{number}-{seed}"
                data = getattr(arguments, name)
                settings = parse_settings(name, data, candidate, seed, arguments.epochs)
                scores.append(best_score(settings, run))
            cells.append(" ".join(f"{score:.3f}" for score in scores))
            cells.append(f"{np.mean(scores):.3f}")
        lines.append(f"| {candidate} | " + " | ".join(cells) + " |")
        print(lines[-1])
    head = ["candidate", "skin, seeds 0 1", "mean", "hip, seeds 0 1", "mean"]
    print("| " + " | ".join(head) + " |", "| --- " * len(head) + "|", *lines, sep="\n")
    print(f"Processor time: {(time.process_time() - began) / 3600:.2f} hours.")


if __name__ == "__main__":
    main()
