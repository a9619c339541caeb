"""Reading published weights."""

from transfuse_keras.weights.load import load_weights
from transfuse_keras.weights.official import load_official

__all__ = ["load_official", "load_weights"]
