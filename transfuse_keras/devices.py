"""Data parallelism on the devices of one host or of several; docs/devices.md says which way.

Every device holds all weights and computes a part of each batch. TensorFlow's MirroredStrategy
serves one host, Keras' DataParallel on JAX one host or several.
"""

import atexit
import ctypes
import os
import signal
import sys
from contextlib import contextmanager, nullcontext
from functools import cache

import keras

from transfuse_keras.errors import InputError

JOIN_SECONDS = 300  # until all processes have to be there
SILENT_SECONDS = 60  # after which a process that gives no sign of life counts as lost
LOST = (
    "another process of this job no longer answers; see its log, then start all processes again "
    "with --resume."
)


def all_devices():
    """The context in which a model, its optimizer and its metrics are built and fit on all devices.

    These are all GPUs, or else the logical CPUs; after `joined`, those of all hosts. A sentence
    says so if there is only one, and the context then changes nothing.

    Returns: context manager.
    """
    names = keras.distribution.list_devices()
    if len(names) < 2:
        print(f"There is only one device here, {names[0]}: training on it alone.")
        return nullcontext()
    if keras.backend.backend() == "jax":
        return keras.distribution.DataParallel(auto_shard_dataset=False).scope()
    return mirrored_strategy(tuple(names)).scope()


# A second strategy in the same process would take the collective operations of the first for its
# own and fail with "Shape mismatch in the collective instance".
@cache
def mirrored_strategy(names):
    """The MirroredStrategy of this process over the devices of these names."""
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(names)


def replicas():
    """Among how many devices the batches of a model built here are split."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.distribute.get_strategy().num_replicas_in_sync
    distribution = keras.distribution.distribution()
    return distribution.num_model_replicas if distribution else 1


def mirrored():
    """Whether layers built here need to exchange their batch statistics themselves.

    On JAX there is one program on the whole batch, so that its statistics are global anyway.
    """
    return keras.backend.backend() == "tensorflow" and replicas() > 1


def processes():
    """(index of this process, number of processes of the job)."""
    if keras.backend.backend() != "jax":
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


@contextmanager
def alone():
    """Within this context what Keras creates is this process's own.

    Saving a model creates variables, and with those of all processes it would wait for them.
    """
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


def is_first():
    """Whether this is the process that writes files."""
    return processes()[0] == 0


def check_devices(batch_size, precision="float32", jit_compile="auto"):
    """Raise InputError if the devices of this context cannot share the training of a model.

    Args:
        batch_size: of all devices together.
        precision: a Keras dtype policy.
        jit_compile: as in Keras; "auto" is off on several devices of TensorFlow.
    """
    count = replicas()
    if batch_size % count:
        fitting = max(count, round(batch_size / count) * count)
        raise InputError(
            f"--batch-size {batch_size}: {count} devices share each batch, so give a multiple of "
            f"{count}, such as {fitting}."
        )
    if jit_compile is True and mirrored():
        raise InputError(
            "TensorFlow cannot compile a step on several devices with XLA: leave it off, or set "
            "KERAS_BACKEND=jax; see docs/devices.md."
        )
    # Keras' LossScaleOptimizer asks only the first replica whether its gradients are finite
    if precision == "mixed_float16" and mirrored():
        raise InputError(
            "mixed_float16 on several devices works on the JAX backend only: set KERAS_BACKEND=jax "
            "or take mixed_bfloat16; see docs/devices.md."
        )


@keras.saving.register_keras_serializable("transfuse_keras")
class Adam(keras.optimizers.Adam):
    """Keras' Adam that clips the gradient of the whole batch, as one device would.

    Keras under a tf.distribute strategy clips what each replica contributes, and adds up then.
    Arguments and state are those of Keras' Adam.
    """

    def apply(self, grads, trainable_variables=None):
        super().apply(sum_over_replicas(grads), trainable_variables)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return grads_and_vars  # they are sums already


def sum_over_replicas(tensors):
    """Each of a list of tensors added up over all replicas of tf.distribute; else as they are."""
    if not mirrored():
        return tensors
    import tensorflow as tf

    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tensors)


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
