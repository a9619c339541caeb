"""Reading published weights."""

from transfuse_keras.weights.load import load_weights
from transfuse_keras.weights.official import load_official
from transfuse_keras.weights.timm import load_timm

__all__ = ["load_official", "load_timm", "load_weights"]
