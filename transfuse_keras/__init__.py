"""TransFuse for Keras 3: 2D medical image segmentation."""

from transfuse_keras import metrics, tasks
from transfuse_keras.backbones import create_cnn, create_vit
from transfuse_keras.data.phantoms import phantoms
from transfuse_keras.data.pictures import overlay
from transfuse_keras.data.pipeline import dataset
from transfuse_keras.inference.predict import predict
from transfuse_keras.model.load import load_weights
from transfuse_keras.model.losses import StructureLoss
from transfuse_keras.model.transfuse import TransFuse
from transfuse_keras.model.variants import VARIANTS, Variant
from transfuse_keras.weights import load_official, load_timm

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
