"""A training small enough to be interrupted many times, and how two of its results compare."""

import csv
import json
import os
import subprocess
import sys
import zipfile
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, StringIO
from pathlib import Path

import h5py
import numpy as np

ROOT = Path(__file__).parents[2]
EPOCHS = 4
UNTIL_SCORED = ("--no-export", "--no-report", "--keep-checkpoints")
TASK = f"""
from dataclasses import replace
from transfuse_keras import tasks

recipe = replace(tasks.hip.phantom_recipe, variant="smallest", image_size=(32, 32), batch_size=4)
recipe = replace(recipe, epochs={EPOCHS}, counts=(18, 6, 4))
task = replace(tasks.hip, phantom_recipe=recipe)
"""


def start(*arguments, **options):
    """Start `transfuse ARGUMENTS` as a process; keyword arguments are those of Popen."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.reliability.child", *map(str, arguments)],
        **{"cwd": ROOT, "env": environment, "text": True},
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


def finish(*arguments):
    """Run `transfuse ARGUMENTS` to its end: (exit code, what it printed, its errors).

    It runs in this process, which need not import TensorFlow once more.
    """
    from benchmarks.reliability import child

    with redirect_stdout(StringIO()) as output, redirect_stderr(StringIO()) as errors:
        code = child.run(arguments)
    return code, output.getvalue(), errors.getvalue()


def train_arguments(folder, run, ending=UNTIL_SCORED):
    """What trains the small task into `run`; `folder` keeps the file of the task."""
    task = folder / "task.py"
    task.write_text(TASK, encoding="utf-8")
    return ["train", "--task", task, "--limit", 17, *ending, "--out", run]


def resume_arguments(run):
    """What goes on with the small task in `run`."""
    return ["train", "--resume", "--out", run, *UNTIL_SCORED]


def weights_of(path):
    """All arrays in a `.keras` file, optimiser included: name -> array."""
    arrays = {}
    with (
        zipfile.ZipFile(path) as archive,
        h5py.File(BytesIO(archive.read("model.weights.h5"))) as f,
    ):
        f.visititems(lambda name, x: arrays.update({name: x[()]} if hasattr(x, "dtype") else {}))
    return arrays


def differences(run, reference):
    """What differs between two finished runs.

    Returns: {"weights": largest difference of a weight or optimiser value of the last checkpoint
    and the best model, relative to the largest value of its array; "history": largest difference
    in history.csv; "metrics": largest difference of a mean score}.
    """
    largest = 0.0
    for name in (f"epoch-{EPOCHS:04}.keras", "best.keras"):
        ours, theirs = (weights_of(x / "checkpoints" / name) for x in (run, reference))
        assert ours.keys() == theirs.keys()
        for key, values in theirs.items():
            scale = max(np.abs(values).max(), 1e-6)
            largest = max(largest, float(np.abs(ours[key] - values).max() / scale))
    histories = [
        list(csv.DictReader((x / "history.csv").open(encoding="utf-8"))) for x in (run, reference)
    ]
    rows = [[[float(x) for x in row.values()] for row in history] for history in histories]
    means = [
        json.loads((x / "metrics.json").read_text(encoding="utf-8"))["mean"]
        for x in (run, reference)
    ]
    scores = [[x for x in mean.values() if x is not None] for mean in means]
    return {
        "weights": largest,
        "history": float(np.abs(np.subtract(*rows)).max()),
        "metrics": float(np.abs(np.subtract(*scores)).max()),
    }
