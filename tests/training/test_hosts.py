"""Processes that a scheduler started find each other."""

import os
import subprocess
import sys

import pytest

from transfuse_keras.cli import main
from transfuse_keras.training.hosts import SCHEDULERS, find_job

ADD_UP = """
import keras
from transfuse_keras.training.hosts import find_job, joined
with joined(*find_job()):
    import jax
    from jax.experimental.multihost_utils import process_allgather
    print(jax.process_count(), process_allgather(jax.process_index() + 1.0).sum())
"""


@pytest.fixture(autouse=True)
def nowhere(monkeypatch):
    """No scheduler, wherever the tests run."""
    for variable in os.environ:
        if variable.startswith(("SLURM_", "OMPI_")):
            monkeypatch.delenv(variable)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_one_of_several_tasks_knows_its_place(scheduler, monkeypatch):
    count, index, first = SCHEDULERS[scheduler]
    assert find_job() is None
    monkeypatch.setenv(count, "4")
    monkeypatch.setenv(index, "3")
    assert find_job() is None  # the script that asked for four tasks is none of them
    monkeypatch.setenv(first, "node[1-4]")
    assert find_job() == (None, 4, 3)
    monkeypatch.setenv(count, "1")
    monkeypatch.setenv(index, "0")
    assert find_job() is None


def test_a_folder_that_all_see_is_asked_for(monkeypatch, capsys):
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_STEP_NODELIST", "node[1-2]")
    monkeypatch.setattr("transfuse_keras.training.begin.backend", lambda: "jax")
    assert main(["train", "--task", "hip", "--devices", "all"]) == 2
    assert "--out" in capsys.readouterr().err


@pytest.mark.slow
def test_two_tasks_of_slurm_find_each_other():
    slurm = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_NTASKS": "2", "SLURM_LOCALID": "0"}
    slurm |= {"SLURM_STEP_NODELIST": "localhost", "KERAS_BACKEND": "jax"}
    tasks = [
        subprocess.Popen(
            [sys.executable, "-c", ADD_UP],
            env={**os.environ, **slurm, "SLURM_PROCID": str(index)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    told = [task.communicate(timeout=300)[0].split() for task in tasks]  # Gloo tells something too
    assert [words[-2:] for words in told] == [["2", "3.0"]] * 2
