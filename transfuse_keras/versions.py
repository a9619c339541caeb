"""Which versions made a file, and with which backend Keras computes."""

import platform
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


def has_tensorflow():
    """Whether TensorFlow is installed; it is not imported for that."""
    return find_spec("tensorflow") is not None


def backend():
    """The name of Keras' backend: "tensorflow", "jax" or "torch"."""
    import keras

    return keras.backend.backend()
