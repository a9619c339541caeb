"""Training on several hosts: processes that find each other and train as one."""

import atexit
import ctypes
import os
import signal
import sys
from contextlib import contextmanager

import keras

from transfuse_keras.errors import InputError

JOIN_SECONDS = 300  # until all processes have to be there
SILENT_SECONDS = 60  # after which a process that gives no sign of life counts as lost
LOST = (
    "another process of this job no longer answers; see its log, then start all processes again "
    "with --resume."
)


@contextmanager
def joined(coordinator, count, index):
    """Train together with processes on other hosts within this context; JAX backend only.

    Enter it before anything asks JAX for a device, and leave it when training has ended: its end
    waits for all processes. If another one is lost meanwhile, this one ends with exit code 1 and
    a sentence; if they do not find together within JOIN_SECONDS, with 2.

    Args:
        coordinator: "HOST:PORT" of process 0, any free port, the same for all.
        count: number of processes.
        index: of this one, from 0.

    Raises: InputError for values that cannot be used, or if the port is taken.
    """
    check_job(coordinator, count, index)
    import jax

    # Its handler would swallow the SIGTERM with which Slurm ends a job
    jax.config.update("jax_enable_preemption_service", False)
    alone = f"not all {count} processes came together at {coordinator} within {JOIN_SECONDS} s"
    end_instead_of_abort(f"{alone}; check that each was started and reaches that address.", 2)
    try:
        jax.distributed.initialize(
            coordinator,
            count,
            index,
            initialization_timeout=JOIN_SECONDS,
            heartbeat_timeout_seconds=SILENT_SECONDS,
        )
    except RuntimeError as error:
        raise InputError(
            f"--coordinator {coordinator}: no process can listen there ({error}); take another "
            "port, and an address of the host of process 0."
        ) from error
    end_instead_of_abort(LOST, 1)
    try:
        yield
        jax.distributed.shutdown()
    except BaseException as error:
        # of several classes, but always with the name of what reports it
        if any(word in str(error) for word in ("Gloo", "NCCL", "UNAVAILABLE")):
            end(LOST, 1)
        # JAX would wait at exit for the others, and they wait for this one
        code = 2 if isinstance(error, (InputError, OSError)) else 1
        atexit.register(end, "", 130 if isinstance(error, KeyboardInterrupt) else code)
        raise


def check_job(coordinator, count, index):
    """Raise InputError if a process cannot join a job with these values."""
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(f"--coordinator {coordinator}: give HOST:PORT, such as node1:12345.")
    if count < 1:
        raise InputError(f"--processes {count}: give 1 or more.")
    if not 0 <= index < count:
        raise InputError(f"--process {index}: give 0 to {count - 1}, another one to each process.")
    if keras.backend.backend() != "jax":
        raise InputError(
            "--coordinator: several hosts train together on the JAX backend only; set "
            "KERAS_BACKEND=jax, see docs/devices.md."
        )


def end(sentence, code):
    """End this process at once, without the waiting for others that is part of JAX's exit."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(2, f"transfuse: {sentence}\n".encode() if sentence else b"")
    os._exit(code)


def end_instead_of_abort(sentence, code):
    """From now on, what aborts the process ends it with this sentence, after its own log.

    JAX aborts in C++, where Python can catch nothing, when a process it depends on is lost.
    """
    global _handler
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int)
    _handler = kind(lambda _: end(sentence, code))  # kept, or it would be freed
    ctypes.CDLL(None).signal(ctypes.c_int(signal.SIGABRT), _handler)
