"""Training on two devices, or in two processes, beside training on one."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from transfuse_keras import devices as distribution
from transfuse_keras.devices import check_devices
from transfuse_keras.errors import InputError
from transfuse_keras.training.hosts import check_job

ROOT = Path(__file__).parents[1]


def start(path, backend="tensorflow", devices=1, **job):
    """A process of distribution_probe.py; its output goes to `path`.log."""
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        # what one process compiled, the next one need not
        "JAX_COMPILATION_CACHE_DIR": str(path.parent / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
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


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    path = tmp_path_factory.mktemp("one") / "one.npz"
    return arrays(path, start(path))


@pytest.mark.slow
def test_two_devices_of_tensorflow_train_to_the_weights_of_one(one_device, tmp_path):
    path = tmp_path / "two.npz"
    two = arrays(path, start(path, devices=2))
    assert_same_training(two, one_device)
    # Adam's first step by hand: the gradient (3, 4) of both replicas, clipped to (0.6, 0.8)
    root = np.sqrt(0.001) * np.array([0.6, 0.8])
    np.testing.assert_allclose(two["clipped"], -root / (1 + root), rtol=1e-5)


@pytest.mark.slow
def test_a_training_on_two_devices_goes_on_where_it_was_stopped(one_device, tmp_path):
    path = tmp_path / "stopped.npz"
    assert_same_training(arrays(path, start(path, devices=2, stop=True)), one_device)


@pytest.mark.slow
def test_two_devices_train_at_several_scales_as_one_does(tmp_path):
    one, two = tmp_path / "one.npz", tmp_path / "two.npz"
    scales = (0.75, 1)
    wanted = arrays(one, start(one, scales=scales))
    # a pixel on the other side of one half moves the Dice
    found = arrays(two, start(two, devices=2, scales=scales))
    assert_same_training(found, wanted, of_change=1e-3, of_logs=1e-3)


@pytest.mark.slow
def test_two_devices_and_two_processes_of_jax_train_to_the_weights_of_one(tmp_path):
    one, two = tmp_path / "one.npz", tmp_path / "two.npz"
    wanted = arrays(one, start(one, "jax"))
    # XLA compiles other kernels for half a batch, and this network amplifies how they round
    loose = {"of_change": 1e-2, "of_logs": 1e-3}
    assert_same_training(arrays(two, start(two, "jax", devices=2)), wanted, **loose)
    processes, paths = start_two(tmp_path)
    assert_same_training(arrays(paths[0], *processes), wanted, **loose)
    assert not paths[1].exists()


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_other_with_a_sentence(victim, tmp_path):
    processes, paths = start_two(tmp_path, for_ever=True)
    try:
        deadline = time.monotonic() + 300
        while "step 5" not in log_of(paths[0]) and time.monotonic() < deadline:
            time.sleep(0.2)
        processes[victim].kill()
        assert processes[1 - victim].wait(timeout=120) == 1
    finally:
        for process in processes:
            process.kill()
    assert log_of(paths[1 - victim]).splitlines()[-1] == f"transfuse: {distribution.LOST}"


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_a_process_whose_partner_never_comes_ends_with_a_sentence(index, tmp_path):
    path = tmp_path / "alone.npz"
    port = free_port()
    process = start(path, "jax", port=port, count=2, index=index, join=3)
    assert process.wait(timeout=200) == 2
    assert log_of(path).splitlines()[-1] == (
        f"transfuse: not all 2 processes came together at 127.0.0.1:{port} within 3 s; check that "
        "each was started and reaches that address."
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("node1", 2, 0), "--coordinator node1: give HOST:PORT"),
        (("node1:0", 2, 0), "--coordinator node1:0: give HOST:PORT"),
        (("node1:1234", 0, 0), "--processes 0: give 1 or more"),
        (("node1:1234", 2, 2), "--process 2: give 0 to 1"),
        (("node1:1234", 2, 1), "set KERAS_BACKEND=jax, see docs/devices.md"),
    ],
)
def test_a_job_that_cannot_work_is_refused_in_a_sentence(values, message):
    with pytest.raises(InputError, match=message):
        check_job(*values)


def test_several_devices_refuse_what_would_go_wrong_on_them(monkeypatch):
    monkeypatch.setattr(distribution, "replicas", lambda: 4)
    check_devices(16)
    with pytest.raises(InputError, match="--batch-size 10: 4 devices .* such as 8"):
        check_devices(10)
    with pytest.raises(InputError, match="XLA"):
        check_devices(16, jit_compile=True)
    with pytest.raises(InputError, match="mixed_bfloat16"):
        check_devices(16, "mixed_float16")
