"""What it gains to predict several images at once: CPU seconds of an image, by images at once.

python benchmarks/batches.py --variant S --size 192 256
python benchmarks/batches.py --model RUN
"""

import argparse
import time
from pathlib import Path
from statistics import median

import numpy as np

from transfuse_keras.runs.processor import import_tensorflow

AT_ONCE = (1, 4, 8, 16)


def create(variant, size):
    import transfuse_keras as tk
    from transfuse_keras.inference.predictor import as_predictor

    return as_predictor(tk.TransFuse(variant, (*size, 3), 1))


def measure(predictor, images=16, rounds=5):
    """Yields (images at once, median CPU seconds of an image, largest difference of a probability
    from the image alone), of `rounds` passes over the same phantoms, in turns."""
    from transfuse_keras import phantoms

    batch = np.stack(phantoms("skin", count=images, size=predictor.size)[0])
    seconds, maps = {n: [] for n in AT_ONCE}, {}
    for n in AT_ONCE:
        predictor.run(batch[:n])  # compiles
    for _ in range(rounds):
        for n in AT_ONCE:
            start = time.process_time()
            found = [predictor.run(batch[k : k + n]) for k in range(0, images, n)]
            seconds[n].append((time.process_time() - start) / images)
            maps[n] = np.concatenate(found)
    for n in AT_ONCE:
        yield n, median(seconds[n]), np.abs(maps[n] - maps[1]).max()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--variant", default="S", help="untrained; default: %(default)s")
    parser.add_argument("--size", nargs=2, type=int, default=(192, 256), help="height and width")
    parser.add_argument("--model", type=Path, help="a run folder, instead of an untrained model")
    options = parser.parse_args()
    import_tensorflow()
    if options.model:
        from transfuse_keras.inference.predictor import load_predictor

        predictor = load_predictor(options.model)
    else:
        predictor = create(options.variant, tuple(options.size))
    for n, seconds, difference in measure(predictor):
        print(f"{n:2} at once: {1000 * seconds:.0f} ms an image, difference {difference:.1e}")
