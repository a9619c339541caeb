"""Augmentations that a recipe does not have on skin, each added to it alone.

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


def shrink(image, masks, rng):
    """Zoom out, to half of the size at most; the border is repeated, and is background."""
    height, width = image.shape[:2]
    zoom = rng.uniform(0.5, 1)
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix = np.hstack([zoom * np.eye(2), ((1 - zoom) * middle)[:, None]])
    shrunk = cv2.warpAffine(masks, matrix, (width, height), flags=cv2.INTER_NEAREST)
    edges = {"flags": cv2.INTER_AREA, "borderMode": cv2.BORDER_REPLICATE}
    return cv2.warpAffine(image, matrix, (width, height), **edges), shrunk.reshape(masks.shape)


def darken_corners(image, masks, rng):
    """A tube of the dermatoscope: dark grey outside a circle that holds most of the image."""
    height, width = image.shape[:2]
    middle = np.array([width, height]) * rng.uniform(0.4, 0.6, 2)
    radius = np.hypot(width, height) / 2 * rng.uniform(0.75, 1.1)
    x, y = np.arange(width) - middle[0], np.arange(height)[:, None] - middle[1]
    inside = np.clip((radius - np.hypot(x, y)) / rng.uniform(1, 10), 0, 1)[..., None]
    dark = image.mean() * rng.uniform(0, 0.6)
    return np.round(inside * image + (1 - inside) * dark).astype("uint8"), masks


def draw_ruler(image, masks, rng):
    """A dark line with ticks to one side, at any place and angle."""
    side = min(image.shape[:2])
    length, angle = side * rng.uniform(0.3, 0.9), rng.uniform(0, 2 * np.pi)
    along = np.array([np.cos(angle), np.sin(angle)])
    start = rng.uniform(0, image.shape[1::-1]) - length / 2 * along
    tick = side * rng.uniform(0.02, 0.05) * along[::-1] * (-1, 1)
    places = [start + t * length * along for t in np.linspace(0, 1, rng.integers(6, 21))]
    lines = [(start, start + length * along), *((place, place + tick) for place in places)]
    drawn = image.copy()
    points = [np.array(16 * np.stack(line), "int32") for line in lines]  # sixteenths of a pixel
    cv2.polylines(drawn, points, False, [0, 0, 0], 1, cv2.LINE_AA, shift=4)
    opacity = rng.uniform(0.3, 0.9)
    return cv2.addWeighted(drawn, opacity, image, 1 - opacity, 0), masks


def shade(image, masks, rng):
    """Light that changes smoothly across the image, by an eighth as a rule."""
    height, width = image.shape[:2]
    field = cv2.resize(rng.normal(0, 1, (3, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
    changed = image * np.exp(0.12 * field)[..., None]
    return np.clip(np.round(changed), 0, 255).astype("uint8"), masks


STRONGER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.05}
OLD, NEW = "scratch-v2", "scratch-v3"  # without and with pen marks
TRIALS = {  # name -> (recipe, functions, what is changed in the Augmentation of the task)
    "none": (OLD, (), {}),
    "elastic": (OLD, (bend,), {}),
    "CLAHE": (OLD, (equalize,), {}),
    "cut-out": (OLD, (cut_out,), {}),
    "copy-paste": (OLD, (paste,), {}),
    "colour": (OLD, (), STRONGER),
    "pen marks": (NEW, (), {}),
    "smaller": (NEW, (shrink,), {}),
    "dark corners": (NEW, (darken_corners,), {}),
    "rulers": (NEW, (draw_ruler,), {}),
    "shade": (NEW, (shade,), {}),
    "smaller, dark corners": (NEW, (shrink, darken_corners), {}),
}


def augment_more(image, masks, task, rng, pen_marks, changes):
    image, masks = augmentation.augment(image, masks, task, rng, pen_marks)
    for change in changes:
        if rng.random() < OFTEN:
            image, masks = change(image, masks, rng)
    return image, masks


def train(name, data, seed, out):
    """The Run of one trial, which is trained if it is not there."""
    recipe, functions, changes = TRIALS[name]
    pipeline.augment = partial(augment_more, changes=functions)
    skin = tk.tasks.skin
    task = replace(skin, augmentation=replace(skin.augmentation, **changes))
    if (out / "metrics.json").is_file():
        return Run(out)
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
            out = arguments.out / f"{name.replace(', ', '_').replace(' ', '_')}-{seed}"
            run = train(name, arguments.data, seed, out)
            rows = read_table(run.folder / "history.csv")
            best, test = max(float(row[MONITOR]) for row in rows), run.scores["mean"]["dice"]
            print(f"| {name} | {seed} | {best:.4f} | {test:.4f} |", flush=True)


if __name__ == "__main__":
    main()
