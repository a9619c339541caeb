"""Time from the start of Python to the first mask.

    python benchmarks/cold_start.py                an untrained Ti at 192x256
    python benchmarks/cold_start.py model.tflite   any exported file, its .json beside it
    python benchmarks/cold_start.py RUN            `transfuse predict` of a run, and of its .tflite

Each run is a process of its own, and the image is of 480x640. The first two are with
edge/transfuse_edge.py: the median of the runs is printed, and where the time goes: until Python and
the imports are there, the file is loaded, and the image has its mask. With a file as argument
nothing but what that script needs has to be installed. Of a run folder the CPU seconds of the whole
command are printed (user and system), the run and its file in turns.
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
    from transfuse_keras.export.litert import export_litert

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


def predict(model, image, out):
    """CPU seconds of `transfuse predict` of one image, in a fresh process."""
    import resource  # which Windows lacks

    command = [sys.executable, "-m", "transfuse_keras", "predict", "--model", model]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*command, "--input", image, "--out", out], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def measure_predict(run):
    import numpy as np
    from PIL import Image

    models = {"run folder": run, "its .tflite": run / "model.tflite"}
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "image.png")
        noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), "uint8")
        Image.fromarray(noise).save(image)
        seconds = {name: [] for name in models}
        for k in range(RUNS + 1):
            for name, model in models.items():
                found = predict(model, image, Path(folder, "out"))
                if k:  # the first one reads the libraries from disk
                    seconds[name].append(found)
    for name, of in seconds.items():
        print(f"{name}: {median(of):.2f} CPU-s ({min(of):.2f}-{max(of):.2f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    text = ".tflite file, or a run folder; by default an untrained Ti"
    parser.add_argument("model", nargs="?", type=Path, help=text)
    model = parser.parse_args().model
    if model and model.is_dir():
        measure_predict(model)
    elif model:
        measure(model)
    else:
        with tempfile.TemporaryDirectory() as folder:
            measure(export_untrained(folder))
