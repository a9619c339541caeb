"""Where and how a model computes: devices, precision, XLA, whether it repeats exactly.

On several devices every one holds all weights and computes a part of each batch. TensorFlow's
MirroredStrategy serves one host, Keras' DataParallel on JAX one host or several; so do processes on
TensorFlow and PyTorch that take means of what they compute; docs/devices.md says which way.
"""

import logging
import os
from contextlib import contextmanager, nullcontext, suppress
from functools import cache

import keras

from transfuse_keras.errors import InputError

log = logging.getLogger(__name__)

_place = 0, 1  # as of `processes`, on TensorFlow and PyTorch
_sharing = False  # whether these processes share the batches of what is built now


def all_devices():
    """The context in which a model, its optimizer and its metrics are built and fit on all devices.

    These are all GPUs, or else the logical CPUs; after `joined`, those of all hosts, on TensorFlow
    and PyTorch one of each process. A sentence says so if there is only one, and the context then
    changes nothing.

    Returns: context manager.

    Raises: InputError on PyTorch for one process with several GPUs.
    """
    torch = keras.backend.backend() == "torch"
    if _place[1] > 1:
        return sharing_by_processes()
    names = name_accelerators() or ["CPU"] if torch else keras.distribution.list_devices()
    if len(names) < 2:
        log.info(f"There is only one device here, {names[0]}: training on it alone.")
        return nullcontext()
    if torch:
        raise InputError(
            f"--devices all: on PyTorch a process trains on one of the {len(names)} GPUs; start "
            f"torchrun --nproc-per-node {len(names)} -m transfuse_keras train ..., see "
            "docs/devices.md."
        )
    if keras.backend.backend() == "jax":
        return keras.distribution.DataParallel(auto_shard_dataset=False).scope()
    return mirrored_strategy(tuple(names)).scope()


def name_accelerators():
    """Names of the accelerators that Keras computes on, such as ["NVIDIA H100"]; [] on a CPU."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        details = map(tf.config.experimental.get_device_details, gpus)
        return [of.get("device_name", "GPU") for of in details]
    if backend == "jax":
        import jax

        return [device.device_kind for device in jax.devices() if device.platform != "cpu"]
    import torch

    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def keep_tensorflow_off_gpus():
    """From now on TensorFlow sees no GPU in this process, unless Keras computes with it.

    It takes nearly all memory of each GPU that it sees when it runs its first operation, be it
    for a line in TensorBoard's files.
    """
    if keras.backend.backend() == "tensorflow":
        return
    import tensorflow as tf

    with suppress(RuntimeError):  # this program has let it compute before: it is too late
        tf.config.set_visible_devices([], "GPU")


# A second strategy in the same process would take the collective operations of the first for its
# own and fail with "Shape mismatch in the collective instance".
@cache
def mirrored_strategy(names):
    """The MirroredStrategy of this process over the devices of these names."""
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(names)


@contextmanager
def being_process(index, count):
    """Within this context `processes` are these, on TensorFlow and PyTorch."""
    global _place
    _place = index, count
    try:
        yield
    finally:
        _place = 0, 1


@contextmanager
def sharing_by_processes():
    """Within this context processes on TensorFlow or PyTorch that have `joined` share batches."""
    global _sharing
    _sharing = True
    try:
        yield
    finally:
        _sharing = False


def replicas():
    """Among how many devices the batches of a model built here are split."""
    if _sharing:
        return _place[1]
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.distribute.get_strategy().num_replicas_in_sync
    distribution = keras.distribution.distribution()
    return distribution.num_model_replicas if distribution else 1


def has_processes():
    """Whether layers built here need to exchange their batch statistics with other processes."""
    return _sharing


def has_replicas():
    """Whether layers built here need to exchange their batch statistics themselves.

    On JAX there is one program on the whole batch, so that its statistics are global anyway.
    """
    return keras.backend.backend() != "jax" and replicas() > 1


def processes():
    """(index of this process, number of processes of the job)."""
    if keras.backend.backend() != "jax":
        return _place
    import jax

    return jax.process_index(), jax.process_count()


@contextmanager
def without_distribution():
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
    if jit_compile is True and has_replicas():
        raise InputError(
            "A step on several devices is compiled on JAX only, with XLA: leave it off, or set "
            "KERAS_BACKEND=jax; see docs/devices.md."
        )
    if keras.backend.backend() == "torch" and not torch_trains_in(precision):
        raise InputError(
            f"On this CPU PyTorch does not train convolutions in {precision}: leave it at float32, "
            "or take another backend; see docs/backends.md."
        )
    # Keras' LossScaleOptimizer asks only the first replica whether its gradients are finite
    if precision == "mixed_float16" and has_replicas():
        raise InputError(
            "mixed_float16 on several devices works on the JAX backend only: set KERAS_BACKEND=jax "
            "or take mixed_bfloat16; see docs/devices.md."
        )


def torch_trains_in(precision):
    """Whether PyTorch differentiates convolutions in this precision, on a CPU by oneDNN.

    Without it their gradient fails: slow_conv2d: grad_weight must be contiguous.
    """
    if not precision.startswith("mixed") or name_accelerators():
        return True
    import torch

    known = precision == "mixed_bfloat16" and torch.backends.mkldnn.is_available()
    return known and torch.ops.mkldnn._is_mkldnn_bf16_supported()


@contextmanager
def computing_in(precision):
    """Models built or loaded within this context compute in `precision`.

    Weights, losses, softmax, normalisation and logits are float32 in each; mixed_float16 also
    scales the loss, so that small gradients do not vanish. In "float32" a GPU may multiply
    in TF32, as TensorFlow does by default; in "strict_float32" it does not.

    Args:
        precision: "float32", "mixed_bfloat16", "mixed_float16" or "strict_float32".
    """
    before = keras.config.dtype_policy()
    strict = precision == "strict_float32"
    keras.config.set_dtype_policy("float32" if strict else precision)
    try:
        with exact_products() if strict else nullcontext():
            yield
    finally:
        keras.config.set_dtype_policy(before)


@contextmanager
def exact_products():
    """Within this context products of float32 numbers are computed in float32 on a GPU too.

    GPUs since Ampere can multiply in TF32, which keeps 10 bits of each number: fast enough for
    training, too rough to compare a model with its exported file. On a CPU nothing changes.
    """
    name = keras.backend.backend()
    if name == "tensorflow":
        import tensorflow as tf

        switch, before = (
            tf.config.experimental.enable_tensor_float_32_execution,
            tf.config.experimental.tensor_float_32_execution_enabled(),
        )
        switch(False)
    elif name == "torch":
        import torch

        switch, before = torch.set_float32_matmul_precision, torch.get_float32_matmul_precision()
        convolutions = torch.backends.cudnn.allow_tf32
        switch("highest")
        torch.backends.cudnn.allow_tf32 = False
    else:
        import jax

        with jax.default_matmul_precision("highest"):
            yield
        return
    try:
        yield
    finally:
        switch(before)
        if name == "torch":
            torch.backends.cudnn.allow_tf32 = convolutions


def on_cpu():
    """Whether TensorFlow computes on the CPU, where a step takes longer with XLA."""
    return keras.backend.backend() == "tensorflow" and not keras.distribution.list_devices("gpu")


def resolve_jit(jit_compile):
    """Whether to compile: Keras' `jit_compile` as a bool.

    "auto" is off for TensorFlow on the CPU or on several devices, and for PyTorch, as in Keras.
    """
    if jit_compile != "auto":
        return jit_compile
    return not (keras.backend.backend() == "torch" or has_replicas() or on_cpu())


def describe_computing(model, precision, jit):
    """A sentence on what `precision` and `jit` come to for a compiled model on this machine."""
    torch = keras.backend.backend() == "torch"
    compiler, state = "torch.compile" if torch else "XLA", "on" if model.jit_compile else "off"
    reason = ""
    if jit == "auto" and not model.jit_compile and not torch:
        if has_replicas():
            reason = ": TensorFlow cannot use it on several devices"
        elif on_cpu():
            reason = ": on TensorFlow's CPU a step takes longer with it"
    return f"Computing in {precision}, {compiler} {state}{reason}."


def compute_deterministically():
    """From now on use only operations that give the same result every time, slower ones too.

    Raises: InputError if JAX computes on a GPU and was not started so.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    elif keras.backend.backend() == "torch":
        import torch

        torch.use_deterministic_algorithms(True)
    elif keras.distribution.list_devices()[0].startswith("gpu"):
        flag = "--xla_gpu_deterministic_ops=true"
        if flag not in os.environ.get("XLA_FLAGS", ""):
            raise InputError(f"For deterministic training on JAX, start with XLA_FLAGS={flag}.")
