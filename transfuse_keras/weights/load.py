"""The `weights` argument of TransFuse."""

from pathlib import Path

from transfuse_keras.weights.official import load_official


def load_weights(model, path):
    """Load a weights file into a TransFuse: Keras' own formats or an authors' checkpoint.

    Args:
        model: TransFuse.
        path: `.weights.h5` or `.keras` of a model with the same constructor arguments, or an
            authors' checkpoint (see `load_official`).

    Raises: ValueError if the file is missing, damaged or holds other tensors.
    """
    path = Path(path)
    if path.suffix not in (".h5", ".keras"):
        return load_official(model, path)
    if not path.is_file():
        raise ValueError(f"{path}: no such weights file.")
    try:
        model.load_weights(path)
    except Exception as error:
        raise ValueError(f"{path}: does not hold the weights of this model ({error}).") from error
