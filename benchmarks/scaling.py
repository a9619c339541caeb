"""How time and memory grow with images, pixels and classes; devices.py has devices.

    python benchmarks/scaling.py --images 1000 10000 100000
    python benchmarks/scaling.py --pixels 128 256 512 1024 --classes 1 5 20

Images: a folder of discs on noise, 64x64, a fifth of them test images. Seconds to find and split
them, to read them and look for copies, of an epoch of batches without a model, and to score the
test images of a model that costs nothing.

Pixels, classes: a training step of Ti with one image, and the prediction of one.

CPU seconds, of models the median of three; one process for each row. "growth" divides all CPU
seconds of a row, and its most memory above the imports, by those of the row before. "linear" is
what they would be if they grew as the number does, or as the number of pixels.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from transfuse_keras.inference.runtimes import read_memory

DISC = (64, 64)
SIZE = 128  # of the rows of classes
STEPS = 3  # that are counted; the first one, which is traced, is not


def cpu_seconds(run):
    start = time.process_time()
    run()
    return time.process_time() - start


def megabytes(field="VmHWM"):
    """Those that this process held at most, or holds (VmRSS)."""
    return read_memory(field) / 1e6


def write_discs(folder, count):
    """Images and masks of `count` cases, no two alike."""
    import cv2

    rows, columns = np.mgrid[: DISC[0], : DISC[1]]
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for number in range(count):
        rng = np.random.default_rng(number)
        row, column = rng.uniform(16, 48, 2)
        mask = (rows - row) ** 2 + (columns - column) ** 2 < rng.uniform(8, 16) ** 2
        image = rng.integers(0, 80, (*DISC, 3)) + 120 * mask[..., None]
        cv2.imwrite(str(folder / "images" / f"{number:06}.png"), image.astype("uint8"))
        cv2.imwrite(str(folder / "masks" / f"{number:06}.png"), 255 * mask.astype("uint8"))


def measure_images(count):
    """CPU seconds of each thing that is done with all images, and MB."""
    from transfuse_keras.data.splits import find_splits
    from transfuse_keras.evaluation.evaluate import evaluate
    from transfuse_keras.inference.predictor import Predictor
    from transfuse_keras.runs.settings import Settings
    from transfuse_keras.tasks import Recipe, Task, skin
    from transfuse_keras.training.fit import create_order, read_batches

    task, found = Task("discs", ("disc",), augmentation=skin.augmentation), {}
    recipe = Recipe("Ti", DISC, epochs=1, batch_size=8)
    blind = Predictor(DISC, 3, 1, lambda images: np.zeros((*images.shape[:3], 1), "float32"))
    imports = megabytes("VmRSS")
    with tempfile.TemporaryDirectory() as folder:
        write_discs(Path(folder), count)
        settings = Settings(task, folder, recipe)

        def split():
            found["splits"] = find_splits(task, folder, DISC)

        def read():
            order = create_order(settings, found["splits"]["train"])
            half = ((0.5,) * 3, (0.5,) * 3)
            found["training"], *_ = read_batches(settings, found["splits"], half, order)

        def run_epoch():
            for _ in found["training"]:
                pass

        times = {
            "find, split": cpu_seconds(split),
            "read, compare": cpu_seconds(read),
            "an epoch": cpu_seconds(run_epoch),
        }
        before = megabytes("VmRSS")
        times["score"] = cpu_seconds(lambda: evaluate(blind, found["splits"]["test"], task))
        scored = megabytes("VmRSS") - before
    return times, {"MB at most": megabytes() - imports, "MB more after scoring": scored}


def measure_model(size, classes):
    """CPU seconds of a training step and of a prediction, and MB."""
    import keras

    import transfuse_keras as tk
    from transfuse_keras.tasks import Recipe
    from transfuse_keras.training.optimizer import create_optimizer

    imports = megabytes("VmRSS")
    keras.utils.set_random_seed(0)
    model = tk.TransFuse("Ti", (size, size, 3), classes)
    rng = np.random.default_rng(0)
    image = rng.standard_normal((1, size, size, 3)).astype("float32")
    masks = (rng.random((1, size, size, classes)) > 0.5).astype("float32")
    model.compile(create_optimizer(Recipe(), 1))
    predicted = [cpu_seconds(lambda: model.predict_on_batch(image)) for _ in range(STEPS + 1)]
    inference = megabytes() - imports
    trained = [cpu_seconds(lambda: model.train_on_batch(image, masks)) for _ in range(STEPS + 1)]
    times = {"step": median(trained[1:]), "prediction": median(predicted[1:])}
    return times, {"MB, step": megabytes() - imports, "MB, prediction": inference}


def print_table(name, values, measure, arguments, linear):
    """A row for each value, flushed as it comes."""
    context, before = multiprocessing.get_context("spawn"), None
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool:
        for value, given in zip(values, arguments, strict=True):
            times, memory = pool.submit(measure, *given).result()
            if before is None:
                head = [name, *(f"{x}, CPU-s" for x in times), *memory, "growth", "linear"]
                print("| " + " | ".join(head) + " |\n" + "| ---: " * len(head) + "|")
            cells = [f"{value:,}", *(f"{x:.2f}" for x in times.values())]
            cells += [f"{x:.0f}" for x in memory.values()]
            now = sum(times.values()), next(iter(memory.values()))
            if before is None:
                cells += ["", ""]
            else:
                ratios = [a / b for a, b in zip(now, before[1], strict=True)]
                cells.append(" and ".join(f"{x:.1f}" for x in ratios))
                cells.append(f"{linear(value) / linear(before[0]):.1f}")
            before = value, now
            print("| " + " | ".join(cells) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    for name in ("images", "pixels", "classes"):
        parser.add_argument(f"--{name}", type=int, nargs="+", default=[], metavar="N")
    given = parser.parse_args()
    if given.images:
        counts = [(count,) for count in given.images]
        print_table("images", given.images, measure_images, counts, float)
    if given.pixels:
        sizes = [(size, 1) for size in given.pixels]
        print_table("pixels a side", given.pixels, measure_model, sizes, lambda x: x * x)
    if given.classes:
        counts = [(SIZE, count) for count in given.classes]
        print_table("classes", given.classes, measure_model, counts, float)


if __name__ == "__main__":
    main()
