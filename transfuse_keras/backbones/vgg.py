"""VGG16 up to stride 16 (Simonyan, Zisserman 2015): the second CNN of E.4 in the paper's Table 5.

Layers carry the names of torchvision's modules with "." as "_", so that weights map by name.
"""

import keras
from keras import layers

WIDTHS = (64, 128, 256, 512, 512)  # of the stages at strides 1 to 16
DEPTHS = (2, 2, 3, 3, 3)


def vgg16(input_shape, dropout=0.0):
    """VGG16 without its last pooling and its classifier as a functional model.

    Args:
        input_shape: (H, W, C); H and W multiples of 16.
        dropout: rate of the channel-wise dropout on the last three stages. A dropped map is an
            output and feeds the next stage too.

    Returns: keras.Model from (B, H, W, C) to its maps at strides [4, 8, 16].
    """
    x = image = keras.Input(input_shape)
    outputs, module = [], 0
    for stage, (width, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True), 1):
        for _ in range(depth):
            x = layers.Conv2D(
                width,
                3,
                padding="same",
                activation="relu",
                kernel_initializer="he_normal",
                name=f"features_{module}",
            )(x)
            module += 2  # torchvision counts the ReLU
        if stage > 2:
            x = layers.SpatialDropout2D(dropout, name=f"stage{stage}_drop")(x)
            outputs.append(x)
        if stage < len(WIDTHS):
            x = layers.MaxPooling2D(2, name=f"features_{module}")(x)
            module += 1
    return keras.Model(image, outputs, name="cnn")
