"""Time from the start of Python to the first mask, with edge/transfuse_edge.py.

    python benchmarks/cold_start.py                an untrained Ti at 192x256
    python benchmarks/cold_start.py model.tflite   any exported file, its .json beside it

Each run is a process of its own. The median of the runs is printed, and where the time goes: until
Python and the imports are there, the file is loaded, and the first image of 480x640 has its mask.
With a file as argument nothing but what the script itself needs has to be installed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
RUNS, SIZE = 10, (192, 256)
STEPS = ("Python", "imports", "load", "first mask")

CHILD = """
import sys, time
times = [time.time()]
import numpy as np
import transfuse_edge
times.append(time.time())
segmenter = transfuse_edge.Segmenter(sys.argv[1])
times.append(time.time())
segmenter.masks(np.zeros((480, 640, 3), "uint8"))
print(*times, time.time())
"""


def export_untrained(folder):
    """Write an untrained Ti with its .json to a folder; the path of the .tflite file."""
    sys.path.insert(0, str(ROOT))
    from transfuse_keras import TransFuse
    from transfuse_keras.export.formats import export_litert

    path = Path(folder) / "model.tflite"
    export_litert(TransFuse("Ti", (*SIZE, 3), 1), path)
    about = {
        "classes": ["object"],
        "thresholds": [0.5],
        "exclusive": False,
        "input": {"size": SIZE, "channels": 3, "dtype": "float32", "values": "RGB, 0-255"},
    }
    Path(f"{path}.json").write_text(json.dumps(about), encoding="utf-8")
    return path


def run(path):
    """Seconds of each of STEPS in a fresh process."""
    start = time.time()
    command = [sys.executable, "-c", CHILD, str(Path(path).resolve())]
    done = subprocess.run(command, cwd=ROOT / "edge", capture_output=True, encoding="utf-8")
    if done.returncode:
        sys.exit(done.stderr)
    times = [start, *map(float, done.stdout.split())]
    return [after - before for before, after in zip(times, times[1:], strict=False)]


def measure(path):
    run(path)  # the first one reads the libraries from disk
    runs = [run(path) for _ in range(RUNS)]
    totals = [sum(seconds) for seconds in runs]
    print(f"{median(totals):.2f} s to the first mask ({min(totals):.2f}-{max(totals):.2f})")
    for step, seconds in zip(STEPS, zip(*runs, strict=True), strict=True):
        print(f"    {step:10} {median(seconds):.3f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", help=".tflite file; by default an untrained Ti")
    model = parser.parse_args().model
    if model:
        measure(model)
    else:
        with tempfile.TemporaryDirectory() as folder:
            measure(export_untrained(folder))
