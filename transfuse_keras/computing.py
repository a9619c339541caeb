"""How a model computes: its precision, whether XLA compiles it, whether it repeats exactly."""

import os
from contextlib import contextmanager

import keras

from transfuse_keras.devices import mirrored
from transfuse_keras.errors import InputError

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
JIT = {"auto": "auto", "on": True, "off": False}  # as Keras' jit_compile


@contextmanager
def computing_in(precision):
    """Models built or loaded within this context compute in `precision`.

    Weights, losses, softmax, normalisation and logits are float32 in each; mixed_float16 also
    scales the loss, so that small gradients do not vanish.

    Args:
        precision: one of PRECISIONS.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def on_cpu():
    """Whether TensorFlow computes on the CPU, where a step takes longer with XLA."""
    return keras.backend.backend() == "tensorflow" and not keras.distribution.list_devices("gpu")


def resolve_jit(jit_compile):
    """Keras' `jit_compile`, "auto" being off for TensorFlow on the CPU or on several devices."""
    return False if jit_compile == "auto" and (mirrored() or on_cpu()) else jit_compile


def describe_computing(model, precision, jit):
    """A sentence on what `precision` and `jit` come to for a compiled model on this machine."""
    state = "on" if model.jit_compile else "off"
    reason = ""
    if jit == "auto" and not model.jit_compile:
        if mirrored():
            reason = ": TensorFlow cannot use it on several devices"
        elif on_cpu():
            reason = ": on TensorFlow's CPU a step takes longer with it"
    return f"Computing in {precision}, XLA {state}{reason}."


def compute_deterministically():
    """From now on use only operations that give the same result every time, slower ones too.

    Raises: InputError if JAX computes on a GPU and was not started so.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    elif keras.distribution.list_devices()[0].startswith("gpu"):
        flag = "--xla_gpu_deterministic_ops=true"
        if flag not in os.environ.get("XLA_FLAGS", ""):
            raise InputError(f"For deterministic training on JAX, start with XLA_FLAGS={flag}.")
