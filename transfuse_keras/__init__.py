"""TransFuse for Keras 3: 2D medical image segmentation.

Every name below is imported when it is first used, so that `import transfuse_keras` takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from transfuse_keras.versions import choose_backend, describe_missing

if TYPE_CHECKING:  # what editors and type checkers read
    from transfuse_keras import metrics, tasks
    from transfuse_keras.backbones import create_cnn, create_vit
    from transfuse_keras.data.phantoms import phantoms
    from transfuse_keras.data.pictures import overlay
    from transfuse_keras.data.pipeline import dataset
    from transfuse_keras.inference.predict import predict
    from transfuse_keras.model.load import load_model, load_weights
    from transfuse_keras.model.losses import StructureLoss
    from transfuse_keras.model.transfuse import TransFuse
    from transfuse_keras.model.unet import UNet
    from transfuse_keras.model.variants import VARIANTS, Variant
    from transfuse_keras.training.adam import Adam
    from transfuse_keras.training.muon import Muon
    from transfuse_keras.training.run import train
    from transfuse_keras.weights import load_official, load_timm

__version__ = "0.1.0"
__all__ = [
    "VARIANTS",
    "Adam",
    "Muon",
    "StructureLoss",
    "TransFuse",
    "UNet",
    "Variant",
    "create_cnn",
    "create_vit",
    "dataset",
    "load_model",
    "load_official",
    "load_timm",
    "load_weights",
    "metrics",
    "overlay",
    "phantoms",
    "predict",
    "tasks",
    "train",
]

choose_backend()

# public name -> the module that defines it
MODULES = {
    "VARIANTS": "model.variants",
    "Adam": "training.adam",
    "Muon": "training.muon",
    "StructureLoss": "model.losses",
    "TransFuse": "model.transfuse",
    "UNet": "model.unet",
    "Variant": "model.variants",
    "create_cnn": "backbones",
    "create_vit": "backbones",
    "dataset": "data.pipeline",
    "load_model": "model.load",
    "load_official": "weights",
    "load_timm": "weights",
    "load_weights": "model.load",
    "overlay": "data.pictures",
    "phantoms": "data.phantoms",
    "predict": "inference.predict",
    "train": "training.run",
}


def __getattr__(name: str) -> Any:
    if name in ("metrics", "tasks"):
        return import_module(f"transfuse_keras.{name}")
    if name not in MODULES:
        raise AttributeError(f"module 'transfuse_keras' has no attribute '{name}'")
    try:
        value = getattr(import_module(f"transfuse_keras.{MODULES[name]}"), name)
    except ImportError as error:
        if sentence := describe_missing(error):
            raise ImportError(sentence, name=error.name) from error
        raise
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
