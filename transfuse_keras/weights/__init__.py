"""Reading and writing published weights."""

from transfuse_keras.weights.official import load_official, official_state
from transfuse_keras.weights.published import PUBLISHED, find_normalization
from transfuse_keras.weights.timm import load_timm

__all__ = [
    "PUBLISHED",
    "load_official",
    "load_timm",
    "find_normalization",
    "official_state",
]
