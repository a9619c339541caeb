"""Other optimisers, starts, losses, dropout and image sizes, each in "scratch-v2" alone.

    python benchmarks/recipe_trials.py --skin DIR --polyp DIR --chest DIR --out DIR
    python benchmarks/recipe_trials.py --skin DIR --out DIR --trials none "depth .1" --longer 4

DIR are folders as `transfuse train --data` takes them: for the task skin with a test split of
another source, for polyp Kvasir-SEG, for chest as examples/chest.py. Prints for each trial, set and
seed the best validation Dice, by which to choose, and the test Dice at the threshold 0.5. --longer
multiplies the epochs. Called again with the same --out it trains what is missing.
"""

import argparse
import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from keras import ops, random

import transfuse_keras as tk
from transfuse_keras.files import read_table
from transfuse_keras.layers import PatchEmbedding, TransformerBlock
from transfuse_keras.layers.transformer import gelu
from transfuse_keras.model import losses
from transfuse_keras.model.transfuse import LOSS_WEIGHTS
from transfuse_keras.tasks import find_task
from transfuse_keras.tasks.task import recipe_changes
from transfuse_keras.training import fit, muon, optimizer
from transfuse_keras.training.fit import MONITOR
from transfuse_keras.training.muon import Muon
from transfuse_keras.training.run import Run

HERE = Path(__file__).parent
BLOCKS = 6  # of Ti's transformer
SETS = {  # name -> task, image size, epochs, and further options of `tk.train`
    "skin": (tk.tasks.skin, (96, 128), 6, {"limit": 320}),
    "polyp": (find_task(str(HERE / "kvasir.py")), (96, 128), 6, {"limit": 320}),
    "chest": (
        find_task(str(HERE.parent / "examples" / "chest.py")),
        (128, 128),
        12,
        {"spacing": (0.9333,)},
    ),
}


def find_blocks(model):
    return [layer for layer in model.vit.layers if isinstance(layer, TransformerBlock)]


def start_at_zero(model, seed):
    """Each block of the transformer begins as the identity: what it adds is 0."""
    for block in find_blocks(model):
        for dense in (block.attn.proj, block.fc2):
            dense.kernel.assign(np.zeros(dense.kernel.shape))


def start_wide(model, seed):
    """Kernels of the transformer as of Glorot and Bengio 2010, not of deviation 0.02."""
    rng = np.random.default_rng(seed)
    for block in find_blocks(model):
        for dense in (block.attn.qkv, block.attn.proj, block.fc1, block.fc2):
            shape = dense.kernel.shape
            wide = shape[0] + (shape[0] if dense is block.attn.qkv else shape[1])
            dense.kernel.assign(rng.standard_normal(shape) * np.sqrt(2 / wide))


def start_residuals(model, seed):
    """What each residual block of the CNN adds begins as 0 (Goyal et al. 2017)."""
    names = {layer.name for layer in model.cnn.layers}
    last = "_bn3" if any(name.endswith("_bn3") for name in names) else "_bn2"
    for name in names:
        if name.startswith("layer") and name.endswith(last):
            gamma = model.cnn.get_layer(name).gamma
            gamma.assign(np.zeros(gamma.shape))


def start_mimetic(model, seed, full_rank=False):
    """Mimetic initialization (Trockman and Kolter 2023): each patch attends to patches like itself.

    The product of a head's query and key kernels is 0.7 of the identity and 0.7 of noise, that of
    values and projection -0.4 and 0.4. `full_rank`: the noise of the first is that of the article;
    else it has the rank of a head.
    """
    rng = np.random.default_rng(seed)
    for block in find_blocks(model):
        dim, heads = block.attn.proj.kernel.shape[0], block.attn.heads
        size, one = dim // heads, np.eye(dim)
        queries, keys = [], []
        for _ in range(heads):
            noise = rng.standard_normal((dim, size)) @ rng.standard_normal((dim, size)).T
            noise /= np.sqrt(size * dim)
            if full_rank:
                noise = rng.standard_normal((dim, dim)) / np.sqrt(dim)
            query, key = factorize(0.7 * one + 0.7 * noise, size)
            queries.append(query)
            keys.append(key)
        noise = rng.standard_normal((dim, dim)) / np.sqrt(dim)
        values, projection = factorize(0.4 * noise - 0.4 * one, dim)
        block.attn.qkv.kernel.assign(np.concatenate([*queries, *keys, values], axis=1))
        block.attn.proj.kernel.assign(projection.T)
    start_places(model, seed)


def factorize(matrix, rank):
    """Two matrices (dim, rank): the first times the transposed second is as near as can be."""
    left, sizes, right = np.linalg.svd(matrix)
    root = np.sqrt(sizes[:rank])
    return left[:, :rank] * root, right[:rank].T * root


def start_places(model, seed):
    """Positions are sines and cosines of row and column (Vaswani et al. 2017)."""
    for layer in model.vit.layers:
        if isinstance(layer, PatchEmbedding):
            layer.positions.assign(sine_positions(*layer.positions.shape[1:])[None])


def sine_positions(rows, columns, dim):
    """(rows, columns, dim); `dim` is a multiple of 4."""
    rates = 10_000 ** -np.linspace(0, 1, dim // 4, endpoint=False)
    places = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    waves = [wave(place[..., None] * rates) for place in places for wave in (np.sin, np.cos)]
    return np.concatenate(waves, axis=-1).astype("float32")


def create_call(rate):
    """TransformerBlock.call with stochastic depth (Huang et al. 2016): in training each image skips
    what the last block adds at this rate, and earlier blocks the less, the earlier they are."""

    def call(block, x, training=False):
        place = int(block.name.removeprefix("blocks_")) + 1
        of_block = rate * place / BLOCKS

        def skip(added):
            if not training:
                return added
            kept = random.uniform((ops.shape(x)[0], 1, 1)) >= of_block
            return added * ops.cast(kept, added.dtype) / (1 - of_block)

        x = x + skip(block.attn(block.norm1(x)))
        return x + skip(block.fc2(gelu(block.fc1(block.norm2(x)))))

    return call


@dataclass(frozen=True)
class Trial:
    """What is changed in "scratch-v2".

    Attributes:
        start: function of a model and a seed, which changes weights before the training.
        recipe: of the fields of Recipe.
        heads: weights of the losses of LOSS_WEIGHTS.
        boundary: how much more a pixel on a border counts in the loss.
        depth: rate of stochastic depth, see `create_call`.
        sides: height and width are multiplied by it.
        momentum, steps: of Muon, where the recipe has it.
    """

    start: object = None
    recipe: dict = field(default_factory=dict)
    heads: tuple = tuple(LOSS_WEIGHTS.values())
    boundary: float = losses.BOUNDARY
    depth: float = 0.0
    sides: int = 1
    momentum: float = Muon().momentum
    steps: int = muon.STEPS


TRIALS = {
    "none": Trial(),
    "mimetic": Trial(start_mimetic),
    "as published": Trial(partial(start_mimetic, full_rank=True)),
    "places": Trial(start_places),
    "zero": Trial(start_at_zero),
    "wide": Trial(start_wide),
    "zero residuals": Trial(start_residuals),
    "heads .8 .1 .1": Trial(heads=(0.8, 0.1, 0.1)),
    "boundary 2": Trial(boundary=2.0),
    "beta2 .99": Trial(recipe={"betas": (0.9, 0.99)}),
    "muon 3": Trial(recipe={"muon": 3.0}),
    "muon 8": Trial(recipe={"muon": 8.0}),
    "muon 20": Trial(recipe={"muon": 20.0}),
    "momentum .95": Trial(recipe={"muon": 8.0}, momentum=0.95),
    "momentum .8": Trial(recipe={"muon": 8.0}, momentum=0.8),
    "2 steps": Trial(recipe={"muon": 8.0}, steps=2),
    "5 steps": Trial(recipe={"muon": 8.0}, steps=5),
    "muon, weight decay": Trial(recipe={"muon": 8.0, "weight_decay": 0.05}),
    "dropout .2": Trial(recipe={"dropout": 0.2}),
    "depth .1": Trial(depth=0.1),
    "larger": Trial(sides=2, recipe={"batch_size": 4, "accumulate": 2}),
}


def create_started(trial, settings, *rest, own=fit.create_model, **named):
    model = own(settings, *rest, **named)
    if trial.start:
        trial.start(model, settings.seed)
    return model


def train(trial, kind, data, seed, out, longer=1):
    """The Run of one trial, which is trained if it is not there."""
    if (out / "metrics.json").is_file():
        return Run(out)
    task, size, epochs, options = SETS[kind]
    changes = recipe_changes("scratch-v2", task.field) | {"scales": None}
    changes["white_balance"] = kind == "skin"  # as of the first tables of docs/results.md
    size = tuple(trial.sides * side for side in size)
    own = {"variant": "Ti", "image_size": size, "epochs": longer * epochs}
    own |= changes | trial.recipe
    given = {"task": replace(task, recipe=replace(task.recipe, **own)), "weights": "none"}
    patches = [
        mock.patch.object(fit, "create_model", partial(create_started, trial)),
        mock.patch.dict(LOSS_WEIGHTS, zip(LOSS_WEIGHTS, trial.heads, strict=True)),
        mock.patch.object(losses, "BOUNDARY", trial.boundary),
        mock.patch.object(muon, "STEPS", trial.steps),
        mock.patch.object(optimizer, "Muon", partial(Muon, momentum=trial.momentum)),
    ]
    if trial.depth:
        patches.append(mock.patch.object(TransformerBlock, "call", create_call(trial.depth)))
    with ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        return tk.train(data, out=out, recipe="paper", export=False, seed=seed, **given, **options)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    for kind in SETS:
        parser.add_argument(f"--{kind}", metavar="DIR")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--longer", type=int, default=1, metavar="N", help="N times the epochs")
    parser.add_argument("--trials", nargs="+", choices=TRIALS, default=list(TRIALS))
    arguments = parser.parse_args()
    heads = "| changed | set | seed | best validation Dice | test Dice |"
    print(heads, "| --- " * 5 + "|", sep="\n")
    for name in arguments.trials:
        for kind in [kind for kind in SETS if getattr(arguments, kind)]:
            for seed in arguments.seeds:
                times = f"-x{arguments.longer}" * (arguments.longer > 1)
                out = arguments.out / f"{kind}-{name.replace(' ', '_')}-{seed}{times}"
                trial, data = TRIALS[name], getattr(arguments, kind)
                run = train(trial, kind, data, seed, out, arguments.longer)
                rows = read_table(run.folder / "history.csv")
                best, test = max(float(row[MONITOR]) for row in rows), run.scores["mean"]["dice"]
                print(f"| {name} | {kind} | {seed} | {best:.4f} | {test:.4f} |", flush=True)


if __name__ == "__main__":
    main()
