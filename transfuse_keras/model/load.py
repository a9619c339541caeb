"""A trained TransFuse from its file, and weights into a TransFuse."""

from pathlib import Path

from transfuse_keras.model.archive import read_model
from transfuse_keras.model.initial_weights import load_weights
from transfuse_keras.model.transfuse import TransFuse

__all__ = ["load_model", "load_weights"]


def load_model(path: str | Path) -> TransFuse:
    """A trained TransFuse from its run folder or `.keras` file.

    No code is run that the file brings along: it holds a TransFuse, and Lambda layers in a CNN
    of its own are refused. The model is not compiled: to go on training it call `compile`, or use
    `keras.saving.load_model`, which keeps loss and optimizer.

    Raises: InputError if there is none, or the file is damaged or holds another model.

    Example:
        >>> import transfuse_keras as tk
        >>> tk.TransFuse("Ti", input_shape=(32, 32, 3), classes=2).save("model.keras")
        >>> model = tk.load_model("model.keras")  # or the folder of a run
        >>> model.classes
        2
    """
    model = read_model(path)
    assert isinstance(model, TransFuse)  # importing the class is what makes it known to Keras
    return model
