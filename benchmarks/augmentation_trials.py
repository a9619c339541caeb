"""Augmentations that the recipe "scratch-v2" does not have on skin, each added to it alone.

    python benchmarks/augmentation_trials.py --data DIR --out DIR --trials none elastic

DIR is a folder as `transfuse train --task skin --data` takes it, with a test split of another
source. Prints for each trial and seed the best validation Dice, by which to choose, and the test
Dice. Called again with the same --out it trains what is missing.
"""

import argparse
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import cv2
import numpy as np

import transfuse_keras as tk
from transfuse_keras.data import augmentation, pipeline
from transfuse_keras.files import read_table
from transfuse_keras.training.fit import MONITOR
from transfuse_keras.training.run import Run

OFTEN = 0.5  # the share of the images that are changed
OPTIONS = {
    **{"variant": "Ti", "image_size": (96, 128), "epochs": 6},
    **{"limit": 320, "threshold": 0.5},
}


def bend(image, masks, rng):
    """Elastic: every pixel is moved by a smooth random field, by 4 pixels as a rule."""
    height, width = image.shape[:2]
    field = rng.standard_normal((height, width, 2)).astype("float32")
    field = cv2.GaussianBlur(field, (0, 0), 10)
    field *= 4 / np.sqrt((field**2).sum(axis=-1).mean())
    places = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype("float32")
    moved = [places + field, None]
    bent = cv2.remap(masks, *moved, cv2.INTER_NEAREST).reshape(masks.shape)
    return cv2.remap(image, *moved, cv2.INTER_LINEAR), bent


def equalize(image, masks, rng):
    """CLAHE of the lightness."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(rng.uniform(1, 4)).apply(np.ascontiguousarray(lab[..., 0]))
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), masks


def cut_out(image, masks, rng):
    """A rectangle of up to half of each side becomes grey; its truth stays."""
    image, sides = image.copy(), np.array(image.shape[:2])
    size = rng.integers(sides // 8, sides // 2)
    top, left = rng.integers(0, sides - size)
    image[top : top + size[0], left : left + size[1]] = 128
    return image, masks


def paste(image, masks, rng, last={}):  # noqa: B006, the lesion before
    """Copy-paste: the lesion of the image before lies on this one, too."""
    pasted, both = image, masks
    if last and (shown := last["masks"] == 1).any():
        pasted, both = np.where(shown, last["image"], image), np.maximum(masks, last["masks"])
    last |= {"image": image, "masks": masks}
    return pasted, both


STRONGER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.05}
TRIALS = {  # name -> (function or None, what it changes in the Augmentation of the task)
    "none": (None, {}),
    "elastic": (bend, {}),
    "CLAHE": (equalize, {}),
    "cut-out": (cut_out, {}),
    "copy-paste": (paste, {}),
    "colour": (None, STRONGER),
    "pen marks": (None, {}),
}


def augment_more(image, masks, task, rng, pen_marks, change):
    image, masks = augmentation.augment(image, masks, task, rng, pen_marks)
    return change(image, masks, rng) if rng.random() < OFTEN else (image, masks)


def train(name, data, seed, out):
    """The Run of one trial, which is trained if it is not there."""
    change, changes = TRIALS[name]
    pipeline.augment = partial(augment_more, change=change) if change else augmentation.augment
    skin = tk.tasks.skin
    task = replace(skin, augmentation=replace(skin.augmentation, **changes))
    if (out / "metrics.json").is_file():
        return Run(out)
    recipe = "scratch" if name == "pen marks" else "scratch-v2"
    return tk.train(data, task=task, out=out, recipe=recipe, export=False, seed=seed, **OPTIONS)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--trials", nargs="+", choices=TRIALS, default=list(TRIALS))
    arguments = parser.parse_args()
    print("| added | seed | best validation Dice | test Dice |", "| --- " * 4 + "|", sep="\n")
    for name in arguments.trials:
        for seed in arguments.seeds:
            run = train(
                name, arguments.data, seed, arguments.out / f"{name.replace(' ', '_')}-{seed}"
            )
            rows = read_table(run.folder / "history.csv")
            best, test = max(float(row[MONITOR]) for row in rows), run.scores["mean"]["dice"]
            print(f"| {name} | {seed} | {best:.4f} | {test:.4f} |", flush=True)


if __name__ == "__main__":
    main()
