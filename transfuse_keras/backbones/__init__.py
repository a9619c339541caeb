"""The two branches: CNNs at strides 4, 8, 16 and the Vision Transformer."""

from transfuse_keras.backbones.cnn import CNNS, create_cnn
from transfuse_keras.backbones.pyramid import as_pyramid, pyramid
from transfuse_keras.backbones.vit import VITS, create_vit

__all__ = ["CNNS", "VITS", "as_pyramid", "create_cnn", "create_vit", "pyramid"]
