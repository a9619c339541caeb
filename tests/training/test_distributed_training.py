"""`transfuse train` on several devices, at dropout 0, against one; a killed worker and --resume."""

import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from test_devices import clusters, free_port

from benchmarks.reliability.runs import UNTIL_SCORED, weights_of
from transfuse_keras.files import read_json, read_table

pytestmark = pytest.mark.release
ROOT = Path(__file__).parents[2]
CHILD = Path(__file__).with_name("distributed_child.py")
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2")
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
needs_tensorflow = pytest.mark.skipif(find_spec("tensorflow") is None, reason="TensorFlow is not")


def start(
    folder, backend, *arguments, devices=1, resume=False, launcher=(), name=None, **variables
):
    """A training on phantoms into `folder`/run, as a process that logs to `folder`."""
    folder.mkdir(exist_ok=True, parents=True)
    given = ["--task", "hip", "--variant", "smallest", "--image-size", "32", "48", "--epochs", "2"]
    # at a larger learning rate rounding grows from step to step
    given += ["--batch-size", "4", "--limit", "32", "--lr", "1e-5"]
    command = [sys.executable, *launcher, CHILD, str(devices), "train"]
    command += [*(["--resume"] if resume else given), *UNTIL_SCORED]
    command += ["--out", folder / "run", *arguments]
    environment = {
        **os.environ,
        **{"KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)},
        # what one process compiled, the next one need not
        "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        **variables,
    }
    name = name or (arguments[-1] if arguments else "")
    with (folder / f"log{name}").open("w") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def start_two(folder, **options):
    """Both processes of a job of two on loopback."""
    job = ["--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2", "--process"]
    return [start(folder, "jax", *job, str(index), **options) for index in range(2)]


def both_end_well(processes):
    return all(process.wait(timeout=1500) == 0 for process in processes)


def same_training(run, other):
    """Assert that the last weights of two runs differ by a small part of what was trained.

    Rounding grows to 0.04 of it; statistics or clipping of a part of the batch give 0.3 and more.
    """
    ours, theirs, before = (
        weights_of(x / "run" / "checkpoints" / f"epoch-{epoch:04}.keras")
        for x, epoch in ((run, 2), (other, 2), (other, 1))
    )
    names = [name for name in theirs if not name.startswith("optimizer")]
    trained = np.sqrt(sum(np.square(theirs[x] - before[x]).sum() for x in names))
    apart = np.sqrt(sum(np.square(theirs[x] - ours[x]).sum() for x in names))
    assert apart < 0.1 * trained


def test_all_devices_of_a_host_train_as_one_does(tmp_path):
    assert both_end_well(
        [
            start(tmp_path / "one", "tensorflow"),
            start(tmp_path / "two", "tensorflow", "--devices", "all", devices=2),
        ]
    )
    log = (tmp_path / "two" / "logall").read_text()
    assert "XLA off: " in log and "several devices" in log
    same_training(tmp_path / "two", tmp_path / "one")


def test_two_processes_go_on_after_one_was_killed(tmp_path):
    """They end as one process that was not."""
    one, stopped = tmp_path / "one", tmp_path / "stopped"
    assert both_end_well([start(one, "jax")])
    assert (one / "run" / "metrics.json").is_file()

    first, second = start_two(stopped)
    deadline = time.monotonic() + 600
    while not list(stopped.rglob("epoch-*.keras")) and time.monotonic() < deadline:
        time.sleep(0.1)
    second.kill()
    assert first.wait(timeout=120) != 0  # JAX ends it
    assert both_end_well(start_two(stopped, resume=True))
    same_training(stopped, one)


def start_by_variables(folders, backend, *arguments, **options):
    """Two processes that no launcher watches, in a folder each."""
    if backend == "torch":
        job = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        told = [{**job, "RANK": str(index)} for index in range(2)]
    else:
        told = [{"TF_CONFIG": cluster} for cluster in clusters()]
    return [
        start(folder, backend, *arguments, "--devices", "all", name=str(index), **options, **of)
        for index, (folder, of) in enumerate(zip(folders, told, strict=True))
    ]


BOTH = [pytest.param("torch", marks=needs_torch)]
BOTH += [pytest.param("tensorflow", marks=needs_tensorflow)]


@pytest.mark.parametrize("backend", BOTH)
def test_two_processes_train_as_one_does_and_the_first_one_writes(backend, tmp_path):
    """Each is given a folder of its own, so that what it writes is seen."""
    one, two = tmp_path / "one", [tmp_path / "two-0", tmp_path / "two-1"]
    uneven = ["--batch-size", "6", "--limit", "30"]  # of the 32 validation images two are left
    processes = start_by_variables(two, backend, *uneven)
    assert both_end_well([start(one, backend, *uneven), *processes])
    same_training(two[0], one)
    assert not (two[1] / "run").exists()
    # not the validation loss of a head, of which Keras takes the mean over uneven batches
    compared = ("loss", "mask_dice", "val_loss", "val_mask_dice", "val_mask_iou")
    histories = [read_table(x / "run" / "history.csv") for x in (two[0], one)]
    rows = [[[float(row[name]) for name in compared] for row in history] for history in histories]
    np.testing.assert_allclose(*rows, atol=1e-3)  # a pixel at the threshold moves the Dice
    ours, theirs = (read_json(x / "run" / "metrics.json")["mean"]["dice"] for x in (two[0], one))
    assert ours == pytest.approx(theirs, abs=1e-3)


@pytest.mark.parametrize("backend", BOTH)
def test_those_of_tensorflow_and_torch_go_on_after_one_was_killed(backend, tmp_path):
    """Of which the other one tells in a sentence. On PyTorch torchrun goes on."""
    one, stopped = tmp_path / "one", tmp_path / "stopped"
    first, second = start_by_variables([stopped, stopped], backend)
    deadline = time.monotonic() + 600
    while not list(stopped.rglob("epoch-*.keras")) and time.monotonic() < deadline:
        time.sleep(0.1)
    second.kill()
    assert first.wait(timeout=120) == 1
    said = (stopped / "log0").read_text()
    assert "Another process" in said and "BatchNormalization" not in said
    if backend == "torch":
        again = [start(stopped, "torch", "--devices", "all", resume=True, launcher=TORCHRUN)]
    else:
        again = start_by_variables([stopped, stopped], backend, resume=True)
    assert both_end_well([start(one, backend), *again])
    same_training(stopped, one)
