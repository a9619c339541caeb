"""A U-Net with the CNN branches, head, losses and recipes of TransFuse: the baseline to beat."""

from typing import Any

import keras

from transfuse_keras.model.transfuse import TransFuse
from transfuse_keras.model.variants import Variant


def UNet(
    cnn: str | keras.Model = "resnet34",
    input_shape: tuple[int, int, int] = (192, 256, 3),
    classes: int = 1,
    widths: tuple[int, int, int] = (256, 128, 64),
    **arguments: Any,
) -> TransFuse:
    """A U-Net (Ronneberger et al. 2015) as a TransFuse without a transformer.

    Its encoder is a CNN branch up to stride 16, its decoder two steps of upsampling, skip
    connection and double convolution, to stride 4. From there the head goes to the input's size,
    as TransFuse's does. All that is made for a TransFuse works with it: training, weights of
    torchvision and timm, export, `TransFuse.from_preset`. `"U-R34"`, `"U-R18"`, `"U-Ti"` and
    `"U-Lite"` are variants by name.

    Args:
        cnn: a key of backbones.CNNS, a functional keras.Model with maps at strides 4, 8 and 16,
            or a keras-hub backbone.
        input_shape: (H, W, C); H and W multiples of 16.
        classes: number M of maps.
        widths: channels at strides 16 (not used), 8 and 4 of the decoder.
        **arguments: further ones of TransFuse, such as `weights`.

    Call: images (B, H, W, C), float32, normalised with `normalization` -> {"mask": float32 logits
    (B, H, W, M)}.

    Raises: ValueError as TransFuse.

    Example:
        >>> import transfuse_keras as tk
        >>> model = tk.UNet("resnet18", (32, 48, 3), classes=2, widths=(32, 16, 8))
        >>> model.compile()
        >>> model.output["mask"].shape
        (None, 32, 48, 2)
    """
    return TransFuse(Variant(cnn, None, 0, widths, skips=True), input_shape, classes, **arguments)
