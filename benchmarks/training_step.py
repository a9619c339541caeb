"""Time and memory of a training step in each precision.

    python benchmarks/training_step.py
    python benchmarks/training_step.py --variant Ti --precision mixed_bfloat16 --steps 20
    python benchmarks/training_step.py --precision float32 --torch PYTHON
    python benchmarks/training_step.py --precision mixed_bfloat16 --torch PYTHON
    python benchmarks/training_step.py --muon

Every precision trains a model of its own in a process of its own, on the same random batch. They
take turns, a step each, so that what disturbs the machine for a while spoils none alone. Two
steps before are not counted: the first traces the graph. Prints a markdown table: CPU seconds of
that first step; seconds and CPU seconds of the median step; the median over the rounds of the ratio
of its CPU seconds to those of the first row; and in MB (1e6 bytes) what the process held after its
imports, after building and compiling the model, and at most. Adam makes the step; with --muon each
precision has a second row, in which Muon does, as in --recipe scratch. With --torch the first row
is S in plain PyTorch in the first precision, run by that interpreter (plain_step.py).
"""

import argparse
import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

from transfuse_keras.benchmark.processes import take_turns
from transfuse_keras.inference.runtimes import read_memory
from transfuse_keras.runs.processor import prefer_onednn
from transfuse_keras.tasks.task import RECIPE_CHANGES

WARM_UP = 2
COLUMNS = ["precision", "CPU-s: first", "s/step", "CPU-s", "ratio", "MB: imports", "built", "peak"]


def memory(field):
    """MB that this process holds (VmRSS) or held at most (VmHWM); nan if not on Linux."""
    held = read_memory(field)
    return float("nan") if held is None else held / 1e6


def work(pipe, precision, muon, variant, image_size, batch_size):
    """In a process: build, say what is held, then train a step whenever asked to."""
    prefer_onednn()  # as the command line does
    import keras
    import numpy as np

    import transfuse_keras as tk
    from transfuse_keras.tasks import Recipe
    from transfuse_keras.training.optimizer import create_optimizer

    imports = memory("VmRSS")
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(precision)
    model = tk.TransFuse(variant, (*image_size, 3))
    model.compile(create_optimizer(Recipe(muon=muon), 1))
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch_size, *image_size, 3)).astype("float32")
    masks = (rng.random((batch_size, *image_size, 1)) > 0.5).astype("float32")
    pipe.send((imports, memory("VmRSS")))
    while pipe.recv():
        start, cpu = time.perf_counter(), time.process_time()
        model.train_on_batch(images, masks)
        pipe.send((time.perf_counter() - start, time.process_time() - cpu, memory("VmHWM")))


@contextmanager
def trainer(*settings):
    """Yields MB after the imports and after building, and a function that trains a step.

    It gives seconds, CPU seconds and the most MB so far.
    """
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    child = context.Process(target=work, args=(theirs, *settings), daemon=True)
    child.start()
    theirs.close()  # so that `recv` ends when the process does

    def step():
        pipe.send(True)
        return pipe.recv()

    yield pipe.recv(), step
    pipe.send(False)
    child.join()


@contextmanager
def plain_trainer(python, image_size, batch_size, precision):
    """As `trainer`, of S in plain PyTorch by another interpreter."""
    command = [python, str(Path(__file__).with_name("plain_step.py"))]
    command += map(str, (*image_size, batch_size, precision))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "encoding": "utf-8"}
    with subprocess.Popen(command, **pipes) as child:

        def step():
            print(file=child.stdin, flush=True)
            return json.loads(child.stdout.readline())

        yield json.loads(child.stdout.readline()), step


def compare(precisions, rates, variant, image_size, batch_size, steps, python=None):
    """Rows of the table; `rates` are of Recipe.muon."""
    data, pairs = (image_size, batch_size), list(itertools.product(precisions, rates))
    names = [precision if rate is None else f"{precision}, Muon" for precision, rate in pairs]
    with ExitStack() as stack:
        started = [stack.enter_context(trainer(*pair, variant, *data)) for pair in pairs]
        if python is not None:
            names.insert(0, "plain PyTorch")
            started.insert(0, stack.enter_context(plain_trainer(python, *data, precisions[0])))
        rounds = take_turns([step for _, step in started], WARM_UP + steps)
    tracing = [cpu for (_, cpu, _), *_ in rounds]
    rounds = [answers[WARM_UP:] for answers in rounds]
    first = [cpu for _, cpu, _ in rounds[0]]
    for name, traced, (held, _), answers in zip(names, tracing, started, rounds, strict=True):
        seconds, used, peaks = zip(*answers, strict=True)
        ratio = median(a / b for a, b in zip(used, first, strict=True))
        times = median(seconds), median(used), ratio
        megabytes = *held, peaks[-1]
        cells = [f"{traced:.1f}", *(f"{x:.2f}" for x in times), *(f"{x:.0f}" for x in megabytes)]
        yield [name, *cells]


def create_parser(description, steps):
    """A parser with the options of what is trained, and how many steps are counted."""
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--variant", default="S")
    parser.add_argument("--image-size", type=int, nargs=2, default=(192, 256), metavar=("H", "W"))
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=steps, help="that are counted")
    return parser


def main():
    parser = create_parser(__doc__, steps=10)
    parser.add_argument("--precision", nargs="+", default=["float32", "mixed_bfloat16"])
    parser.add_argument("--torch", metavar="PYTHON", help="an interpreter that has PyTorch")
    parser.add_argument("--muon", action="store_true", help="train by Muon, too")
    arguments = parser.parse_args()
    rates = [None] + [RECIPE_CHANGES["scratch"]["muon"]] * arguments.muon
    rows = compare(
        arguments.precision,
        rates,
        arguments.variant,
        arguments.image_size,
        arguments.batch_size,
        arguments.steps,
        arguments.torch,
    )
    for cells in [COLUMNS, ["---"] + 7 * ["---:"], *rows]:
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
