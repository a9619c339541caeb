"""TransFuse for Keras 3: 2D medical image segmentation."""

from transfuse_keras import metrics, tasks
from transfuse_keras.backbones import create_cnn, create_vit
from transfuse_keras.data.phantoms import phantoms
from transfuse_keras.data.pipeline import dataset
from transfuse_keras.inference import overlay, predict
from transfuse_keras.losses import StructureLoss
from transfuse_keras.transfuse import TransFuse
from transfuse_keras.variants import VARIANTS, Variant
from transfuse_keras.weights import load_official, load_timm, load_weights

__version__ = "0.1.0"
__all__ = [
    "VARIANTS",
    "StructureLoss",
    "TransFuse",
    "Variant",
    "create_cnn",
    "create_vit",
    "dataset",
    "load_official",
    "load_timm",
    "load_weights",
    "metrics",
    "overlay",
    "phantoms",
    "predict",
    "tasks",
]
