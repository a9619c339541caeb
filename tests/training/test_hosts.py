"""Processes that a scheduler started find each other."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_devices import free_port

from transfuse_keras.cli import main
from transfuse_keras.errors import InputError
from transfuse_keras.training import hosts
from transfuse_keras.training.hosts import SCHEDULERS, find_job

ROOT = Path(__file__).parents[2]

ADD_UP = """
import keras
from transfuse_keras.training.hosts import find_job, joined
with joined(*find_job()[1:]):
    import jax
    from jax.experimental.multihost_utils import process_allgather
    print(jax.process_count(), process_allgather(jax.process_index() + 1.0).sum())
"""


# in place of the package `kubernetes`: two pods of the Job `train` with the service `pods`
KUBERNETES = """
from types import ModuleType, SimpleNamespace as Namespace

labels = {"job-name": "train"}
owner = Namespace(controller=True, kind="Job")
metadata = Namespace(name="train-0", labels=labels, owner_references=[owner])
pod = Namespace(metadata=metadata, spec=Namespace(subdomain="pods"))
job = Namespace(metadata=Namespace(name="train", labels={}), spec=Namespace(parallelism=2))
api = Namespace(
    list_namespaced_pod=lambda **_: Namespace(items=[pod]), read_namespaced_job=lambda **_: job
)
config = Namespace(load_incluster_config=lambda: None)
exceptions = Namespace(ApiException=RuntimeError)
client = Namespace(CoreV1Api=lambda: api, BatchV1Api=lambda: api, exceptions=exceptions)

from jax._src.clusters.k8s_cluster import K8sCluster

K8sCluster._namespace = classmethod(lambda cls: "default")
"""
ELSEWHERE = ("WORLD_SIZE", "TF_CONFIG", "JOB_COMPLETION_INDEX")


@pytest.fixture(autouse=True)
def nowhere(monkeypatch):
    """No scheduler, wherever the tests run."""
    for variable in os.environ:
        if variable.startswith(("SLURM_", "OMPI_", "KUBERNETES_")) or variable in ELSEWHERE:
            monkeypatch.delenv(variable)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_one_of_several_tasks_knows_its_place(scheduler, monkeypatch):
    count, index, first = SCHEDULERS[scheduler]
    assert find_job() is None
    monkeypatch.setenv(count, "4")
    monkeypatch.setenv(index, "3")
    assert find_job() is None  # the script that asked for four tasks is none of them
    monkeypatch.setenv(first, "node[1-4]")
    assert find_job() == (scheduler, None, 4, 3)
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


def test_a_cluster_of_tensorflow_is_known_by_its_variable(monkeypatch):
    cluster = {"worker": ["b:1", "c:2"], "chief": ["a:3"], "evaluator": ["d:4"]}
    found = []
    for task in (("chief", 0), ("worker", 0), ("worker", 1)):
        config = {"cluster": cluster, "task": dict(zip(("type", "index"), task, strict=True))}
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
        found.append(find_job())
    assert found == [("TF_CONFIG", "a:3", 3, index) for index in range(3)]
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": ["b:1"]}}))
    assert find_job() is None  # as clouds set it for one machine, too
    evaluator = {"cluster": cluster, "task": {"type": "evaluator", "index": 0}}
    for text in ("{", json.dumps(evaluator)):
        monkeypatch.setenv("TF_CONFIG", text)
        with pytest.raises(InputError, match="TF_CONFIG"):
            find_job()


WORKERS = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}
SLURM = {"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_STEP_NODELIST": "node[1-2]"}


@pytest.mark.parametrize(
    ("variables", "backend", "words", "told"),
    [
        ({"WORLD_SIZE": "2", "RANK": "1"}, "jax", ["--devices", "all"], "KERAS_BACKEND=torch"),
        ({"TF_CONFIG": json.dumps(WORKERS)}, "tensorflow", [], "--devices all"),
        ({"TF_CONFIG": json.dumps(WORKERS)}, "torch", ["--devices", "all"], "jax or tensorflow"),
        (SLURM, "tensorflow", ["--devices", "all"], "KERAS_BACKEND=jax"),
    ],
)
def test_processes_that_would_each_train_alone_are_refused(
    variables, backend, words, told, tmp_path, monkeypatch, capsys
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("transfuse_keras.training.begin.backend", lambda: backend)
    command = ["train", "--task", "hip", "--out", str(tmp_path / "run"), *words]
    assert main(command) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_processes_of_torchrun_are_told_to_train_together(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    assert find_job() == ("torchrun", None, 4, 3)  # in a task of Slurm, too
    monkeypatch.setattr("transfuse_keras.training.begin.backend", lambda: "torch")
    assert main(["train", "--task", "hip", "--out", "run"]) == 2
    assert "--devices all" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert find_job() is None


def by_slurm(index, port):
    named = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_NTASKS": "2", "SLURM_LOCALID": "0"}
    return named | {"SLURM_STEP_NODELIST": "localhost", "SLURM_PROCID": str(index)}


def by_tensorflow(index, port):
    cluster = {"worker": [f"127.0.0.1:{port}", f"127.0.0.1:{free_port()}"]}
    config = {"cluster": cluster, "task": {"type": "worker", "index": index}}
    return {"TF_CONFIG": json.dumps(config)}


def by_kubernetes(index, port):
    """The address of the first pod is a name of the cluster's own, so JAX is told another."""
    told = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "JOB_COMPLETION_INDEX": str(index)}
    return told | {"HOSTNAME": "localhost", "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}"}


@pytest.mark.parametrize(
    ("installed", "index", "backend", "found"),
    [
        (True, "3", "jax", ("Kubernetes", None, None, 3)),
        (False, "3", "jax", None),
        (True, "", "jax", None),
        (True, "3", "tensorflow", None),
    ],
)
def test_a_pod_of_an_indexed_job_is_known(installed, index, backend, found, monkeypatch):
    monkeypatch.setattr(hosts, "find_spec", lambda name: installed)
    monkeypatch.setattr(hosts, "backend", lambda: backend)
    assert find_job() is None
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("JOB_COMPLETION_INDEX", index)
    assert find_job() == found


@pytest.mark.slow
@pytest.mark.parametrize("tell", [by_slurm, by_tensorflow, by_kubernetes])
def test_two_processes_that_were_told_of_each_other_add_up(tell, tmp_path):
    port = free_port()
    (tmp_path / "kubernetes.py").write_text(KUBERNETES)
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    tasks = [
        subprocess.Popen(
            [sys.executable, "-c", ADD_UP],
            env={**os.environ, **tell(index, port), "KERAS_BACKEND": "jax", "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    told = [task.communicate(timeout=300)[0].split() for task in tasks]  # Gloo tells something too
    assert [words[-2:] for words in told] == [["2", "3.0"]] * 2
