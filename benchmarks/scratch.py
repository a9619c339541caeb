"""What lifts a training from random weights: candidates for a recipe.

    python benchmarks/scratch.py --skin DIR --hip DIR --polyp DIR --out DIR
    python benchmarks/scratch.py --skin DIR --out DIR --candidates 3 4 5 --seeds 0 1 2

DIR are folders as `transfuse train --data` takes them for the tasks skin and hip, and Kvasir-SEG
with its official split for polyp. The first candidates add one to another up to the recipe
"scratch-v1"; each of the others changes one thing in that; with white balance it is "scratch-v2".
Trains every candidate with every seed for the same number of epochs and prints a markdown table of
the best validation Dice. Called again with the same --out it goes on where it was stopped.
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
from kvasir import kvasir

from transfuse_keras.data.splits import find_splits, limit_samples
from transfuse_keras.files import read_table, remove_leftovers
from transfuse_keras.runs.settings import PRECISIONS, Settings
from transfuse_keras.tasks import TASKS
from transfuse_keras.tasks.task import RECIPE_CHANGES
from transfuse_keras.training import checkpoints
from transfuse_keras.training.fit import MONITOR, fit_model
from transfuse_keras.training.tracking import Trackers

SETS = {  # task, image size
    "skin": (TASKS["skin"], (96, 128)),
    "hip": (TASKS["hip"], (128, 128)),
    "polyp": (replace(kvasir, recipe=TASKS["polyp"].recipe), (128, 128)),
}
LIMIT = 640  # training images at most
SCHEDULE = {"learning_rate": 1e-3, "betas": (0.9, 0.999), "warm_up": 0.1}
SCRATCH = RECIPE_CHANGES["scratch-v1"]

# what a candidate changes in the recipe of a task
CANDIDATES = {
    "the task's own recipe": {},
    "warm-up, cosine, 1e-3, betas .9 .999": SCHEDULE,
    "the above in batches of 8": {**SCHEDULE, "batch_size": 8},
    "the above without dropout: scratch-v1": SCRATCH,
    "scratch-v1, twice the rate": {**SCRATCH, "learning_rate": 2e-3},
    "scratch-v1, half the rate": {**SCRATCH, "learning_rate": 5e-4},
    "scratch-v1, batches of 4": {**SCRATCH, "batch_size": 4},
    "scratch-v1, weight decay 0.05": {**SCRATCH, "weight_decay": 0.05},
    "scratch-v1, mean weights (ema 0.99)": {**SCRATCH, "ema": 0.99},
    "scratch-v1, focal 2": {**SCRATCH, "focal": 2.0},
    "scratch-v1, gradients not clipped": {**SCRATCH, "clip_norm": None, "clip_value": None},
    "scratch-v1, white balance": RECIPE_CHANGES["scratch-v2"],
}


def create_settings(name, data, candidate, seed, epochs, precision):
    """The Settings of one training."""
    task, image_size = SETS[name]
    own = {"variant": "Ti", "image_size": image_size, "epochs": epochs, "scales": None}
    recipe = replace(task.recipe, **own, **CANDIDATES[candidate])
    return Settings(task, data, recipe, seed=seed, limit=LIMIT, precision=precision)


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
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    for name in SETS:
        parser.add_argument(f"--{name}", metavar="DIR")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    known = range(len(CANDIDATES))
    parser.add_argument("--candidates", type=int, nargs="+", choices=known, default=known)
    arguments = parser.parse_args()
    sets = {name: data for name in SETS if (data := getattr(arguments, name))}
    count = len(arguments.candidates) * len(sets) * len(arguments.seeds)
    print(f"{count} trainings of {arguments.epochs} epochs, at most {LIMIT} images each.")
    began, lines = time.process_time(), []
    for number, candidate in enumerate(CANDIDATES):
        if number not in arguments.candidates:
            continue
        cells = []
        for name, data in sets.items():
            scores = []
            for seed in arguments.seeds:
                run = arguments.out / f"{name}-{number}-{seed}"
                given = (seed, arguments.epochs, arguments.precision)
                settings = create_settings(name, data, candidate, *given)
                scores.append(best_score(settings, run))
            cells.append(" ".join(f"{score:.3f}" for score in scores))
            cells.append(f"{np.mean(scores):.3f}")
        lines.append(f"| {candidate} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    head = ["candidate", *(x for name in sets for x in (f"{name}, by seed", "mean"))]
    print("| " + " | ".join(head) + " |", "| --- " * len(head) + "|", *lines, sep="\n")
    print(f"Processor time: {(time.process_time() - began) / 3600:.2f} hours.")


if __name__ == "__main__":
    main()
