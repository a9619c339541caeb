"""Is it better than what people use? Peers trained as our runs were, and scored as they are.

    transfuse train --task skin --data DIR --recipe scratch --seed 0 --out RUN_0   # and 1, 2, ...
    python benchmarks/peers.py --run RUN_0 RUN_1 RUN_2 --out OUT                   # equal steps
    python benchmarks/peers.py --run RUN_0 RUN_1 RUN_2 --out OUT_2 --seconds auto  # equal time
    transfuse compare RUN_0 OUT/RUN_0/U-Net

For each run and peer it leaves the folder OUT/<run>/<peer>, which `transfuse compare` takes:
cases.csv by our protocol, history.csv, weights.pt and, last, metrics.json. A peer has the run's
images, split, size, batches with their augmentation bit for bit, recipe, loss, seed and choice of
the best epoch; it begins from random weights and computes in float32. Where the recipe has white
balance, it gets balanced images. nnU-Net has its own loss, optimiser, augmentation and colours,
and is scored at 0.5 with all components.
With --seconds the schedule of the learning rate follows the time: of the processor on a CPU, by the
clock on a GPU; "auto" is as long as the run of ours was trained. With --adam, Adam trains peers,
though Muon trained the run; their folders and rows are called "<peer> by Adam". Called again it
trains what is missing, and prints the table of all: of each case the mean over the runs, which
differ in their seed.

Needs, besides transfuse-keras[torch]; no TensorFlow is imported:
    pip install segmentation_models_pytorch==0.6.0   # MIT: U-Net, U-Net++, FPN, SegFormer
    pip install medicai==0.0.4                       # Apache-2.0: TransUNet, a Keras model
    pip install nnunetv2==2.8.1                      # Apache-2.0: nnU-Net, see peer_nnunet.py
"""

import argparse
import os
import sys
import traceback
from dataclasses import replace
from functools import partial
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"
sys.path.insert(1, str(Path(__file__).parents[1]))

import numpy as np
import peer_models
import torch
from peer_training import fit, predict

from transfuse_keras.data.cache import count_images, read_part
from transfuse_keras.data.normalization import normalizer
from transfuse_keras.data.order import Order
from transfuse_keras.data.pipeline import batches
from transfuse_keras.data.white_balance import balance_colours
from transfuse_keras.errors import InputError
from transfuse_keras.evaluation.compare import read_case_table, select_values
from transfuse_keras.evaluation.evaluate_model import choose_samples
from transfuse_keras.evaluation.results import score_samples
from transfuse_keras.evaluation.statistics import paired
from transfuse_keras.evaluation.validation import (
    GRID,
    choose_sure,
    choose_thresholds,
    count_validation,
)
from transfuse_keras.files import format_table, read_json, replacing, write_json, write_table
from transfuse_keras.inference.predictor import Predictor
from transfuse_keras.model.variants import resolve_variant
from transfuse_keras.runs.folder import COMPLETE, CONFIG, refuse_other_split, run_task
from transfuse_keras.runs.sessions import read_sessions
from transfuse_keras.runs.settings import read_settings
from transfuse_keras.training.ablation import describe_seeds
from transfuse_keras.training.train import find_run_splits
from transfuse_keras.weights import find_normalization

METRICS = ("dice", "iou")
NNUNET = "nnU-Net"
BY_ADAM = " by Adam"


def train_peer(name, run, folder, seconds=None, adam=False):
    """Train a peer as a run was trained, and score it on the run's test split."""
    settings = read_settings(run / CONFIG)
    if adam:
        if name == NNUNET:
            raise InputError("nnU-Net has an optimiser of its own; leave out --adam.")
        settings = replace(settings, recipe=replace(settings.recipe, muon=None))
    refuse_other_recipes(name, settings)
    splits = find_run_splits(settings)
    refuse_other_split(run, splits)
    folder.mkdir(parents=True, exist_ok=True)
    train = train_nnunet if name == NNUNET else partial(train_model, name)
    tell = partial(print, f"{run.name}, {folder.name}:", flush=True)
    model, found, spent = train(settings, splits, folder, seconds, tell)
    task = run_task(run)
    predictor = Predictor(
        settings.recipe.image_size, task.inputs, len(task.classes), found, task.field is not None
    )
    given = 0.5 if settings.threshold in (None, "auto") or name == NNUNET else settings.threshold
    grid = GRID if settings.threshold == "auto" else (given,)
    thresholds = dict.fromkeys(task.classes, given)
    # chosen as of the run, if that did it; nnU-Net has a recipe of its own
    chosen = task.sure is not None and name != NNUNET
    task = replace(task, sure=settings.task.sure if chosen else ())
    if splits["val"] and name != NNUNET:
        validation = count_validation(predictor, splits["val"], task, grid, task.flips)
        task = replace(task, sure=choose_sure(validation, task))
        thresholds = choose_thresholds(validation, task.sure)
    samples, _ = choose_samples(task, None, run, settings.spacing)
    scores = score_samples(folder, predictor, task, samples, thresholds, task.flips)
    about = {"task": task.name, "data": settings.data or "phantom", "variant": folder.name}
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    write_json(folder / COMPLETE, {**about, "seconds": spent, "parameters": count, **scores})


def train_model(name, settings, splits, folder, seconds, tell):
    """Train a model of BUILDERS, or load it. Returns: the module, the function from images to
    probabilities, and the seconds of its training."""
    task, recipe = settings.task, settings.recipe
    normalization = find_own_normalization(settings)
    model = peer_models.build(
        name, recipe.image_size, task.inputs, len(task.classes), settings.seed
    )

    def train():
        training = read_batches(settings, splits["train"], normalization, augmented=True)
        validation = settings.validation and read_batches(settings, splits["val"], normalization)
        return fit(model, training, validation or None, recipe, seconds, tell)

    def run(images):
        normalize = normalizer(normalization, images.dtype)
        if recipe.white_balance:
            images = images.copy()
            balance_colours(images, recipe.white_balance)
        logits = predict(model, np.stack([normalize(image) for image in images]))
        return 1 / (1 + np.exp(-logits))

    return model, run, train_once(model, folder, train)


def train_nnunet(settings, splits, folder, seconds, tell):
    """As `train_model`."""
    import peer_nnunet

    recipe = settings.recipe
    trainer = peer_nnunet.create_trainer(settings, splits, folder / "nnunet")
    order = Order(count_images(splits["train"]), recipe.batch_size)
    per_epoch = len(order) * len(recipe.scales or (1,))

    def train():
        return peer_nnunet.fit(trainer, per_epoch, recipe.epochs, seconds, tell)

    spent = train_once(trainer.network, folder, train)
    return trainer.network, peer_nnunet.create_run(trainer), spent


def train_once(model, folder, train):
    """Train a module, or take the weights of a folder in which it was. Returns: the seconds."""
    if not (folder / "weights.pt").is_file():
        rows = train()
        write_table(folder / "history.csv", rows)
        with replacing(folder / "weights.pt") as temporary:
            torch.save({"seconds": rows[-1]["seconds"], "model": model.state_dict()}, temporary)
    trained = torch.load(folder / "weights.pt", weights_only=True)
    model.load_state_dict(trained["model"])
    return trained["seconds"]


def refuse_other_recipes(name, settings):
    """Raise InputError for what peers are not trained with."""
    task, recipe = settings.task, settings.recipe
    asked = [x for x in ("class_weights", "focal", "patience") if getattr(recipe, x)]
    asked += ["weight_decay"] * bool(recipe.muon and recipe.weight_decay)
    asked += ["accumulate"] * (recipe.accumulate > 1) + ["ignore"] * (task.ignore is not None)
    if asked:
        raise InputError(f"Peers are not trained with {', '.join(asked)}: take another run.")
    if any(side % 32 for side in recipe.image_size):
        raise InputError("Peers take images of a size in multiples of 32.")
    if recipe.scales and name in peer_models.FIXED_SIZE:
        raise InputError(f"{name} is built for one size, and the recipe trains at several.")


def find_own_normalization(settings):
    """(mean, std) of image / 255 that the run's own model takes."""
    variant = resolve_variant(settings.recipe.variant)
    return settings.task.normalization or find_normalization(variant.cnn, variant.vit)


def read_batches(settings, samples, normalization, augmented=False):
    """The Batches of `training.fit.read_batches`, for one process."""
    task, recipe = settings.task, settings.recipe
    images, masks = read_part(samples, recipe.image_size, task.field, (0, 1), task.context)
    seed, share = (settings.seed, recipe.foreground) if augmented else (None, None)
    order = Order(count_images(samples), recipe.batch_size, seed, share=share)
    order.foreground = (masks == 1).any(axis=(1, 2, 3))
    if recipe.white_balance:
        balance_colours(images, recipe.white_balance)
    return batches(images, masks, task, normalization, order, augmented, pen_marks=recipe.pen_marks)


def write_comparison(out, runs, names):
    """The lines of a table of our runs and the peers that are trained for all of them."""
    ours = [read_case_table(run) for run in runs]
    cases = [x for x in ours[0]["cases"] if all(x in table["cases"] for table in ours)]
    groups = [ours[0]["groups"].get(case, case) for case in cases]
    rows = [describe_row("ours", runs, ours, cases, groups)]
    for name in names:
        folders = [out / run.name / name for run in runs]
        if all((folder / COMPLETE).is_file() for folder in folders):
            tables = [read_case_table(folder) for folder in folders]
            rows.append(describe_row(name, folders, tables, cases, groups, ours))
    heads = ["", "training", *(f"{x} {what}" for x in METRICS for what in ("(runs)", "ours - it"))]
    lines = format_table(heads, rows, left=1, markdown=True)
    return [*lines, "", f"{len(cases)} cases of {len(set(groups))} patients, {len(runs)} run(s)."]


def describe_row(name, folders, tables, cases, groups, ours=None):
    """A row of the table: time, and of each metric its mean, interval and difference to ours."""
    cells = [name, ", ".join(f"{find_seconds(folder):.0f} s" for folder in folders)]
    for metric in METRICS:
        values = [select_values(table, cases, table["classes"], metric) for table in tables]
        cells.append(describe_seeds(values, groups))
        if ours is None:
            cells.append("")
            continue
        own = [select_values(table, cases, table["classes"], metric) for table in ours]
        found = paired(np.mean(values, axis=0), np.mean(own, axis=0), groups)
        interval = f"[{found['low']:+.3f}, {found['high']:+.3f}]"
        cells.append(f"{found['difference']:+.3f} {interval}, p {found['p']:.2g}")
    return cells


def find_seconds(folder):
    """How long the model in a folder was trained, by `peer_training.clock`."""
    own = (read_json(folder / COMPLETE) or {}).get("seconds")
    name = "seconds" if torch.cuda.is_available() else "processor_seconds"
    times = [session.get(name) for session in read_sessions(folder)]
    if own is None and (not times or None in times):
        raise InputError(f"{folder}: does not tell its {name}; train it again.")
    return own or sum(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    known = [*peer_models.BUILDERS, NNUNET]
    parser.add_argument("--run", type=Path, nargs="+", required=True, help="runs of ours")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--peers", nargs="+", choices=known, default=known, metavar="PEER")
    parser.add_argument("--seconds", help="train each for so long, not as many steps; or auto")
    parser.add_argument("--adam", action="store_true", help="train peers by Adam, not by Muon")
    arguments = parser.parse_args()
    for run in arguments.run:
        for name in arguments.peers:
            folder = arguments.out / run.name / (name + BY_ADAM * arguments.adam)
            if (folder / COMPLETE).is_file():
                continue
            try:
                seconds = find_seconds(run) if arguments.seconds == "auto" else arguments.seconds
                train_peer(name, run, folder, seconds and float(seconds), arguments.adam)
            except Exception as error:  # the others are trained
                known_reason = isinstance(error, (ImportError, InputError, ValueError))
                reason = error if known_reason else traceback.format_exc()
                print(f"{run.name}, {folder.name}: left out: {reason}", flush=True)
    rows = [*known, *(name + BY_ADAM for name in known)]
    lines = write_comparison(arguments.out, arguments.run, rows)
    (arguments.out / "peers.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
