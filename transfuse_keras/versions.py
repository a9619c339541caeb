"""Which versions made a file, and with which backend Keras computes."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec


def versions(*packages):
    """{"python": its version, package: its version}.

    The version of a package that is not installed is None. This package is not installed where it
    runs from a clone.
    """
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def describe_versions(found):
    """ "keras 3.12, numpy 2.3" of what `versions` found; what is not installed is left out."""
    return ", ".join(f"{name} {number}" for name, number in found.items() if number)


def has_tensorflow():
    """Whether TensorFlow is installed; it is not imported for that."""
    return find_spec("tensorflow") is not None


def find_missing_for_onnx():
    """Which of the packages are not installed by which PyTorch writes and runs an ONNX file."""
    return [name for name in ("torch", "onnxscript", "onnxruntime") if find_spec(name) is None]


def find_exporter():
    """The backend that writes a run's files for other runtimes: TensorFlow, or without it PyTorch.

    None where neither is installed, or PyTorch without what it writes ONNX with.
    """
    if has_tensorflow():
        return "tensorflow"
    return None if find_missing_for_onnx() else "torch"


def choose_backend():
    """Let Keras compute with JAX or PyTorch where TensorFlow, its default, is not installed.

    KERAS_BACKEND decides where it is set, and a program that has imported Keras has chosen.
    """
    if "keras" in sys.modules or "KERAS_BACKEND" in os.environ or has_tensorflow():
        return
    for name in ("jax", "torch"):
        if find_spec(name) is not None:
            os.environ["KERAS_BACKEND"] = name
            return


def describe_missing(error):
    """One sentence if an ImportError says that a backend of Keras is not installed, else None."""
    if error.name not in ("tensorflow", "jax", "torch"):
        return None
    return (
        f"{error.name} is not installed, and Keras needs it here; install it: "
        f"pip install 'transfuse-keras[{error.name}]'."
    )


def backend():
    """The name of Keras' backend: "tensorflow", "jax" or "torch"."""
    import keras

    return keras.backend.backend()
