"""Training on two devices, or in two processes, beside training on one."""

import json
import os
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from transfuse_keras import devices
from transfuse_keras.devices import check_devices
from transfuse_keras.errors import InputError
from transfuse_keras.training.hosts import check_job

ROOT = Path(__file__).parents[1]
WRITES_LOGS = """
import keras
import numpy as np

from transfuse_keras.training.callbacks import write_for_tensorboard

keras.utils.set_random_seed(0)  # which imports TensorFlow
import tensorflow as tf
from tensorflow.python.eager.context import context

hide, hidden = tf.config.set_visible_devices, []

def note(devices, kind):
    assert context()._context_handle is None, "it may hold a GPU by now"
    hidden.append((devices, kind))
    hide(devices, kind)

tf.config.set_visible_devices = note
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
callbacks = write_for_tensorboard("logs")
model.fit(np.zeros((2, 2)), np.zeros((2, 1)), verbose=0, callbacks=callbacks)
assert context()._context_handle is not None, "it has computed nothing"
assert hidden == ([] if keras.backend.backend() == "tensorflow" else [([], "GPU")])
"""

EXACT = {"of_change": 1e-12, "of_logs": 1e-6}  # of what is computed in float64; logs are float32


def start(path, backend="tensorflow", devices=1, cluster="", **job):
    """A process of distribution_probe.py, one of a `cluster`; its output goes to `path`.log."""
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        # what one process compiled, the next one need not
        "JAX_COMPILATION_CACHE_DIR": str(path.parent / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        **({"TF_CONFIG": cluster} if cluster else {}),
    }
    command = [sys.executable, ROOT / "tests" / "distribution_probe.py"]
    with open(f"{path}.log", "w") as log:
        return subprocess.Popen(
            [*command, json.dumps({"devices": devices, **job}), path],
            env=environment,
            stdout=log,
            stderr=log,
        )


def log_of(path):
    return Path(f"{path}.log").read_text(errors="replace")


def arrays(path, *processes):
    """What processes that write `path` leave there."""
    for process in processes:
        assert process.wait(timeout=1500) == 0, log_of(path)[-3000:]
    return dict(np.load(path))


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def start_two(folder, **job):
    """Two processes on loopback, and the files that they may write."""
    job = {"port": free_port(), "count": 2, **job}
    paths = [folder / f"process-{i}.npz" for i in range(2)]
    return [start(path, "jax", index=i, **job) for i, path in enumerate(paths)], paths


def trained(arrays, name):
    """What the training `name` left: the arrays without its name."""
    return {k.removeprefix(f"{name}/"): v for k, v in arrays.items() if k.startswith(f"{name}/")}


def assert_same_training(ours, one, of_change=1e-4, of_logs=1e-5):
    """Weights equal to a part of what training changed, and all logs.

    Statistics or clipping by device would change them by more than a fifth.
    """
    for name, value in one.items():
        if name.startswith("logs/"):
            np.testing.assert_allclose(ours[name], value, atol=of_logs, err_msg=name)
    starts, ends = ([name for name in one if name.startswith(x)] for x in ("start/", "end/"))
    difference = change = 0.0
    for first, last in zip(starts, ends, strict=True):
        np.testing.assert_array_equal(ours[first], one[first])
        difference += np.square(ours[last] - one[last]).sum()
        change += np.square(one[last] - one[first]).sum()
    assert change > 0
    assert difference < of_change**2 * change


@pytest.mark.release
def test_two_devices_of_tensorflow_train_to_the_weights_of_one(tmp_path):
    """In float64; stopped and gone on with, and at several scales, too."""
    scales = {"scales": (0.75, 1)}
    trainings = {
        "one": {"alone": True},
        "two": {},
        "stopped": {"stop": True},
        "one scaled": {"alone": True, **scales},
        "two scaled": scales,
    }
    path = tmp_path / "all.npz"
    found = arrays(path, start(path, devices=2, trainings=trainings))
    one = trained(found, "one")
    assert_same_training(trained(found, "two"), one, **EXACT)
    # checkpoints are float32
    assert_same_training(trained(found, "stopped"), one)
    assert_same_training(trained(found, "two scaled"), trained(found, "one scaled"), **EXACT)
    # Adam's first step by hand: the gradient (3, 4) of both replicas, clipped to (0.6, 0.8)
    root = np.sqrt(0.001) * np.array([0.6, 0.8])
    np.testing.assert_allclose(found["clipped"], -root / (1 + root), rtol=1e-5)


def clusters():
    """TF_CONFIG of each of two processes on loopback."""
    cluster = {"worker": [f"127.0.0.1:{free_port()}" for _ in range(2)]}
    tasks = [{"type": "worker", "index": index} for index in range(2)]
    return [json.dumps({"cluster": cluster, "task": task}) for task in tasks]


@pytest.mark.release
def test_two_processes_of_tensorflow_train_to_the_weights_of_one(tmp_path):
    both = {"one": {"alone": True}, "two": {}}
    paths = [tmp_path / f"process-{i}.npz" for i in range(2)]
    told = zip(paths, clusters(), strict=True)
    processes = [start(path, cluster=cluster, trainings=both) for path, cluster in told]
    found = arrays(paths[0], *processes)
    assert_same_training(trained(found, "two"), trained(found, "one"), **EXACT)
    assert not paths[1].exists()


@pytest.mark.release
def test_two_devices_and_two_processes_of_jax_train_to_the_weights_of_one(tmp_path):
    path, both = tmp_path / "one.npz", {"one": {"alone": True}, "two": {}}
    found = arrays(path, start(path, "jax", devices=2, trainings=both))
    wanted = trained(found, "one")
    # XLA compiles other kernels for half a batch, and this network amplifies how they round
    loose = {"of_change": 1e-2, "of_logs": 1e-3}
    assert_same_training(trained(found, "two"), wanted, **loose)
    processes, paths = start_two(tmp_path, trainings={"two": {}})
    assert_same_training(trained(arrays(paths[0], *processes), "two"), wanted, **loose)
    assert not paths[1].exists()


@pytest.mark.release
def test_a_process_ends_when_the_first_one_was_killed(tmp_path):
    """test_distributed_training.py kills the second, and goes on."""
    processes, paths = start_two(tmp_path, for_ever=True, lost=10)
    try:
        deadline = time.monotonic() + 300
        while "step 5" not in log_of(paths[0]) and time.monotonic() < deadline:
            time.sleep(0.2)
        processes[0].kill()
        assert processes[1].wait(timeout=120) != 0
    finally:
        for process in processes:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_tensorflow_sees_no_gpu_where_it_only_writes_logs(backend, tmp_path):
    if find_spec(backend) is None or find_spec("tensorboard") is None:
        pytest.skip(f"{backend} or tensorboard is not installed")
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
    program = [sys.executable, "-c", WRITES_LOGS]
    done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert list(tmp_path.glob("logs/train/*tfevents*"))


@pytest.mark.slow
def test_a_process_whose_partner_never_comes_ends(tmp_path):
    paths = [tmp_path / f"alone-{index}.npz" for index in range(2)]
    processes = [
        start(path, "jax", port=free_port(), count=2, index=index, join=3, trainings={})
        for index, path in enumerate(paths)
    ]
    assert all(process.wait(timeout=200) != 0 for process in processes)
    assert not any(path.exists() for path in paths)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("node1", 2, 0), "--coordinator node1: give HOST:PORT"),
        (("node1:0", 2, 0), "--coordinator node1:0: give HOST:PORT"),
        (("node1:1234", 0, 0), "--processes 0: give 1 or more"),
        (("node1:1234", 2, 2), "--process 2: give 0 to 1"),
        (("node1:1234", 2, 1), "KERAS_BACKEND=jax"),
    ],
)
def test_a_job_that_cannot_work_is_refused_in_a_sentence(values, message):
    with pytest.raises(InputError, match=message):
        check_job(*values)


def test_several_devices_refuse_what_would_go_wrong_on_them(monkeypatch):
    monkeypatch.setattr(devices, "replicas", lambda: 4)
    check_devices(16)
    with pytest.raises(InputError, match="--batch-size 10: 4 devices .* such as 8"):
        check_devices(10)
    with pytest.raises(InputError, match="XLA"):
        check_devices(16, jit_compile=True)
    with pytest.raises(InputError, match="mixed_bfloat16"):
        check_devices(16, "mixed_float16")
