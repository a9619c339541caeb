"""Weights rebuilt from names, so that golden outputs need no weight files."""

import json
from pathlib import Path
from zlib import crc32

import keras
import numpy as np

# timm name -> {tensor name: shape}
TIMM_SPECS = json.loads((Path(__file__).parent / "fixtures" / "timm_state_spec.json").read_text())


def tensor_from_name(name, shape, seed):
    """The tensor that the golden files' PyTorch models held under `name`."""
    rng = np.random.default_rng([seed, crc32(name.encode())])
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, "int64")
    if name.endswith("running_mean"):
        values = 0.1 * rng.standard_normal(shape)
    elif name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        values = rng.uniform(0.5, 1.5, shape)
    elif name.endswith("weight"):
        values = rng.standard_normal(shape) * np.sqrt(1 / np.prod(shape[1:]))
    else:
        values = 0.02 * rng.standard_normal(shape)
    return values.astype("float32")


def state_from_names(spec, seed=1):
    """A whole state_dict from {tensor name: shape}."""
    return {name: tensor_from_name(name, shape, seed) for name, shape in spec.items()}


def input_image(shape, seed=1, key=b"input"):
    """The golden files' input, NHWC float32, from its NCHW shape."""
    rng = np.random.default_rng([seed, crc32(key)])
    return rng.standard_normal(shape).astype("float32").transpose(0, 2, 3, 1)


def relative_error(ours, theirs):
    """max |ours - theirs| / max |theirs|."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def gradient(function, x):
    """Gradient of a number by an array, as the backend differentiates."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.grad(function)(x)
    x = keras.Variable(x)
    if keras.backend.backend() == "torch":
        function(x.value).backward()
        return x.value.grad
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = function(x.value)
    return tape.gradient(loss, x.value)
