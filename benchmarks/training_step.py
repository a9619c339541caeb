"""Time and memory of a training step in each precision.

    python benchmarks/training_step.py
    python benchmarks/training_step.py --variant Ti --precision mixed_bfloat16 --steps 20

Every precision trains a model of its own in a process of its own, on the same random batch. They
take turns, a step each, so that what disturbs the machine for a while spoils none alone. Two
steps before are not counted: the first traces the graph. Prints a markdown table: CPU seconds of
that first step; seconds of the median step; the median over the rounds of its ratio to the first
precision; and in MB (1e6 bytes) what the process held after its imports, after building and
compiling the model, and at most.
"""

import argparse
import multiprocessing
import os
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import keras
import numpy as np

import transfuse_keras as tk
from transfuse_keras.benchmark.processes import take_turns
from transfuse_keras.tasks import Recipe
from transfuse_keras.training.optimizer import create_optimizer

STATUS = Path("/proc/self/status")
WARM_UP = 2
COLUMNS = ["precision", "CPU-s: first", "s/step", "ratio", "MB: imports", "built", "peak"]


def memory(field):
    """MB that this process holds (VmRSS) or held at most (VmHWM); nan if not on Linux."""
    if not STATUS.is_file():
        return float("nan")
    (line,) = [
        line for line in STATUS.read_text(encoding="utf-8").splitlines() if line.startswith(field)
    ]
    return 1024 * int(line.split()[1]) / 1e6


def work(pipe, precision, variant, image_size, batch_size):
    """In a process: build, say what is held, then train a step whenever asked to."""
    imports = memory("VmRSS")
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(precision)
    model = tk.TransFuse(variant, (*image_size, 3))
    model.compile(create_optimizer(Recipe(), 1))
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


def compare(precisions, variant, image_size, batch_size, steps):
    """Rows of the table."""
    settings = variant, image_size, batch_size
    with ExitStack() as stack:
        started = [stack.enter_context(trainer(name, *settings)) for name in precisions]
        rounds = take_turns([step for _, step in started], WARM_UP + steps)
    tracing = [cpu for (_, cpu, _), *_ in rounds]
    rounds = [answers[WARM_UP:] for answers in rounds]
    first = [seconds for seconds, _, _ in rounds[0]]
    for name, cpu, (held, _), answers in zip(precisions, tracing, started, rounds, strict=True):
        seconds = [answer[0] for answer in answers]
        ratio = median(a / b for a, b in zip(seconds, first, strict=True))
        peak = answers[-1][-1]
        yield [name, f"{cpu:.1f}", f"{median(seconds):.2f}", f"{ratio:.2f}"] + [
            f"{megabytes:.0f}" for megabytes in (*held, peak)
        ]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--variant", default="S")
    parser.add_argument("--image-size", type=int, nargs=2, default=(192, 256), metavar=("H", "W"))
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--precision", nargs="+", default=["float32", "mixed_bfloat16"])
    parser.add_argument("--steps", type=int, default=10, help="that are counted")
    arguments = parser.parse_args()
    rows = compare(
        arguments.precision,
        arguments.variant,
        arguments.image_size,
        arguments.batch_size,
        arguments.steps,
    )
    for cells in [COLUMNS, ["---"] + 6 * ["---:"], *rows]:
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
