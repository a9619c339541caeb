"""Processes that torchrun starts on PyTorch share a training.

test_distributed_training.py has the command line in such processes.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
from test_devices import ROOT, arrays, assert_same_training, trained

from transfuse_keras import devices
from transfuse_keras.errors import InputError
from transfuse_keras.training import hosts
from transfuse_keras.versions import backend

TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node", "2"]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
def test_two_processes_of_torchrun_train_to_the_weights_of_one(tmp_path):
    """In statistics of batches, clipped gradients, losses and scores; at two sizes."""
    scales = {"scales": (0.75, 1)}
    trainings = {"one": {"alone": True, **scales}, "two": scales}
    path, program = tmp_path / "all.npz", ROOT / "tests" / "distribution_probe.py"
    job = json.dumps({"devices": 1, "trainings": trainings})
    environment = {
        **os.environ,
        **{"KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1"},
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
    }
    with open(f"{path}.log", "w") as log:
        command = [sys.executable, *TORCHRUN, program, job, path]
        found = arrays(path, subprocess.Popen(command, env=environment, stdout=log, stderr=log))
    assert_same_training(trained(found, "two"), trained(found, "one"))


@pytest.mark.skipif(backend() != "torch", reason="is about PyTorch")
def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(InputError, match="--nproc-per-node 2"), hosts.joined(None, 3, 2):
        pass
    monkeypatch.setattr(devices, "name_accelerators", lambda: ["NVIDIA H200"] * 4)
    with pytest.raises(InputError, match="--nproc-per-node 4"):
        devices.all_devices()
