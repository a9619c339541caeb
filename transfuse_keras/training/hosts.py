"""Training on several hosts: processes that find each other and train as one."""

import json
import logging
import os
from contextlib import contextmanager
from importlib.util import find_spec

from transfuse_keras.errors import Failure, InputError, blaming
from transfuse_keras.versions import backend

log = logging.getLogger(__name__)

JOIN_SECONDS = 300  # until all processes have to be there, and again to be done
SILENT_SECONDS = 60  # after which a process that gives no sign of life counts as lost

# (number of tasks, index of this one), as they tell it to each of their processes, and what JAX
# finds process 0 by; a batch script of Slurm has the first two, but not what srun tells its tasks
SCHEDULERS = {
    "Slurm": ("SLURM_NTASKS", "SLURM_PROCID", "SLURM_STEP_NODELIST"),
    "Open MPI": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_MCA_orte_hnp_uri"),
}
KUBERNETES = "Kubernetes"
# what it tells each pod of an indexed Job; JAX asks it for the rest
POD = ("KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX")
TF_CONFIG = "TF_CONFIG"
TORCHRUN = "torchrun"  # or what else sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT
TRAINING = ("chief", "worker")  # the tasks of a TF_CONFIG that train, in this order


def find_job():
    """(who started it, coordinator or None, number of processes, index of this one) if this
    process is one of several, else None.

    Without a coordinator JAX asks the scheduler itself where process 0 is, PyTorch torchrun. The
    number is None in Kubernetes, which JAX asks by the package `kubernetes`, where it is installed.

    Raises: InputError if they were started in a way in which they cannot train together.
    """
    size = os.environ.get("WORLD_SIZE", "")
    if "RANK" in os.environ and size.isdecimal() and int(size) > 1:
        return TORCHRUN, None, int(size), int(os.environ["RANK"])
    if TF_CONFIG in os.environ and (job := read_cluster(os.environ[TF_CONFIG])):
        return job
    for name, variables in SCHEDULERS.items():
        count, index, first = (os.environ.get(variable, "") for variable in variables)
        if first and count.isdecimal() and index.isdecimal() and int(count) > 1:
            return name, None, int(count), int(index)
    host, index = (os.environ.get(variable, "") for variable in POD)
    if host and index.isdecimal() and backend() == "jax" and find_spec("kubernetes"):
        return KUBERNETES, None, None, int(index)
    return None


def read_cluster(text):
    """As `find_job`, by what TF_CONFIG tells each process of a cluster of TensorFlow."""
    with blaming(TF_CONFIG, "does not describe a cluster"):
        config = json.loads(text)
        cluster, task = config.get("cluster", {}), config.get("task", {})
        places = [(kind, i) for kind in TRAINING for i in range(len(cluster.get(kind, [])))]
        if len(places) < 2:
            return None
        index = places.index((task["type"], int(task["index"])))
        kind, first = places[0]
        return TF_CONFIG, cluster[kind][first], len(places), index


@contextmanager
def joined(coordinator, count, index):
    """Train together with other processes within this context: on JAX, on PyTorch by torchrun, on
    TensorFlow by TF_CONFIG.

    Enter it before anything asks for a device, and leave it when training has ended: on JAX its end
    waits for all processes. If another one is lost meanwhile, or they do not find together within
    JOIN_SECONDS, JAX says so in its own words and ends this process; elsewhere Failure is raised.

    Args:
        coordinator: "HOST:PORT" of process 0, any free port, the same for all; None: what started
            them tells, see `find_job`.
        count: number of processes; None: what started them tells.
        index: of this one, from 0.

    Raises: InputError for values that cannot be used, if the port is taken, or if this process
    finds no GPU of its own on a host with some. Failure if another process is lost.
    """
    check_job(coordinator, count, index)
    if backend() == "jax":
        with joined_by_jax(coordinator, count, index):
            yield
        return
    from transfuse_keras.devices import being_process
    from transfuse_keras.layers.exchange import ProcessLost

    by_backend = joined_by_torch if backend() == "torch" else joined_by_tensorflow
    try:
        with being_process(index, count), by_backend():
            yield
    except ProcessLost as error:
        raise Failure(
            "Another process of this training has ended or does not answer; start all again with "
            "--resume."
        ) from error


@contextmanager
def joined_by_tensorflow():
    """As `joined` for one of a cluster that TF_CONFIG describes."""
    import tensorflow as tf

    from transfuse_keras.layers.exchange import ProcessLost

    if (gpus := len(tf.config.list_physical_devices("GPU"))) > 1:
        raise InputError(
            f"TF_CONFIG: on TensorFlow each process of a cluster trains on one GPU, and this one "
            f"sees {gpus}; start one for each, with CUDA_VISIBLE_DEVICES, or set "
            "KERAS_BACKEND=jax."
        )
    # Starts the server by which processes meet. Its scope is not entered: Keras' fit fails there.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    try:
        yield strategy
    except (tf.errors.UnavailableError, tf.errors.AbortedError) as error:
        raise ProcessLost(str(error)) from error


@contextmanager
def joined_by_torch():
    """As `joined` for a process that torchrun started; it trains on the GPU of its local rank."""
    import torch

    gpus, local = torch.cuda.device_count(), int(os.environ.get("LOCAL_RANK", "0"))
    if gpus:
        if local >= gpus:
            raise InputError(
                f"torchrun started process {local}, counted from 0, on a host with {gpus} GPUs: "
                f"give --nproc-per-node {gpus}."
            )
        torch.cuda.set_device(local)
    torch.distributed.init_process_group()  # NCCL between GPUs, Gloo between CPUs
    yield
    torch.distributed.destroy_process_group()


@contextmanager
def joined_by_jax(coordinator, count, index):
    """As `joined`."""
    import jax

    # Its handler would swallow the SIGTERM with which Slurm ends a job
    jax.config.update("jax_enable_preemption_service", False)
    where = f" at {coordinator}" if coordinator else ""
    log.info(
        f"Process {index} of {count or 'a Job'}: waiting {JOIN_SECONDS} s at most for the others"
        f"{where}. If one is lost later, JAX ends all; start all again with --resume."
    )
    try:
        jax.distributed.initialize(
            *((coordinator, count, index) if coordinator else ()),
            initialization_timeout=JOIN_SECONDS,
            heartbeat_timeout_seconds=SILENT_SECONDS,
            # process 0 may still write its last checkpoint, to a slow disk
            shutdown_timeout_seconds=JOIN_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        if coordinator is None:
            raise InputError(
                f"The scheduler does not tell JAX where process 0 is ({error}); give "
                "--coordinator, --processes and --process."
            ) from error
        raise InputError(
            f"--coordinator {coordinator}: no process can listen there ({error}); take another "
            "port, and an address of the host of process 0."
        ) from error
    yield
    jax.distributed.shutdown()


def check_job(coordinator, count, index):
    """Raise InputError if a process cannot join a job with these values."""
    host, _, port = (coordinator or "scheduler:1").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(f"--coordinator {coordinator}: give HOST:PORT, such as node1:12345.")
    if count is None:  # Kubernetes knows it
        return
    if count < 1:
        raise InputError(f"--processes {count}: give 1 or more.")
    if not 0 <= index < count:
        raise InputError(f"--process {index}: give 0 to {count - 1}, another one to each process.")
    if backend() != "jax" and coordinator is not None:
        raise InputError(
            "--coordinator: is for the JAX backend; set KERAS_BACKEND=jax, or start processes on "
            "PyTorch by torchrun, see docs/devices.md."
        )
