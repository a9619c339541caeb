"""Time to score the surfaces of a full-size radiograph, beside MedPy.

    python benchmarks/surface.py

The masks are the three classes of a hip phantom of 2942 x 2449 pixels (width x height); the
prediction is the truth, warped by a few pixels and with a rough boundary. Each contender scores
Hausdorff distance and ASSD of the three classes in millimetres. They take turns, and the median
of the rounds is printed with the largest difference of the scores. MedPy is `pip install
MedPy==0.5.2`.
"""

import os
import sys
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import cv2
import numpy as np
from medpy.metric import binary

from transfuse_keras.data.phantoms import phantoms
from transfuse_keras.metrics import surface_scores

SIZE, ROUNDS, SHIFT = (2449, 2942), 3, 12.0


def smooth_field(rng, cell):
    """Smooth noise of SIZE around 0, float32, varying over `cell` pixels."""
    coarse = [length // cell + 2 for length in SIZE]
    noise = rng.standard_normal(coarse).astype("float32")
    return cv2.resize(noise, SIZE[::-1], interpolation=cv2.INTER_CUBIC)


def cases():
    """Truths and predictions, boolean (M, H, W), and the pixel spacing in mm."""
    rng = np.random.default_rng(0)
    _, masks, spacing = phantoms("hip", 1, SIZE)
    rows, columns = np.indices(SIZE, dtype="float32")
    moved = [
        axis + SHIFT * smooth_field(rng, 400) + smooth_field(rng, 8) for axis in (columns, rows)
    ]
    warped = cv2.remap(masks[0], *moved, cv2.INTER_NEAREST)
    return (np.moveaxis(array, -1, 0).astype(bool) for array in (masks[0], warped)), spacing


def ours(truth, prediction, spacing):
    scores = surface_scores(truth, prediction, spacing)
    return scores["hd"], scores["assd"]


def medpy(truth, prediction, spacing):
    return tuple(score(prediction, truth, spacing) for score in (binary.hd, binary.assd))


def compare():
    (truths, predictions), spacing = cases()
    seconds, scores = {ours: [], medpy: []}, {}
    for number in range(ROUNDS):
        for contender in seconds:
            start = time.perf_counter()
            scores[contender] = [
                contender(*pair, spacing) for pair in zip(truths, predictions, strict=True)
            ]
            seconds[contender].append(time.perf_counter() - start)
        print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
    for contender, values in seconds.items():
        print(f"{contender.__name__:6} {median(values):7.3f} s for {len(truths)} classes")
    ratio = median(b / a for a, b in zip(*seconds.values(), strict=True))
    difference = np.abs(np.subtract(scores[ours], scores[medpy])).max()
    print(f"MedPy / ours {ratio:.1f}; largest difference {difference:.1e} mm")
    for hd, assd in scores[ours]:
        print(f"HD {hd:.2f} mm, ASSD {assd:.3f} mm")


if __name__ == "__main__":
    compare()
