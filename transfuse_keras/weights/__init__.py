"""Reading and writing published weights.

Each name is imported when it is first used, so that files of weights are read without Keras.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
MODULES = {
    "PUBLISHED": "published",
    "load_official": "official",
    "load_timm": "timm",
    "find_normalization": "published",
    "official_state": "official",
}


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{MODULES[name]}"), name)
