"""The graph of TransFuse, from top to bottom like Fig. 1 of the paper, and those of Table 5."""

import numpy as np
from keras import layers

from transfuse_keras.backbones import CNNS, create_cnn, create_vit, pyramid
from transfuse_keras.backbones.vit import PATCH_SIZE
from transfuse_keras.layers import BiFusion, GatedDecoder, Head, PUPDecoder, UpBlock

LONGEST_SIDE = 8192  # pixels: attention between all patches of such a square takes 256 GiB a head


def is_count(value):
    """Whether a value is a whole number from 1 on."""
    return isinstance(value, (int, np.integer)) and value > 0


def check_size(name, size):
    """Return `size` = (height, width) or raise ValueError, with its name, if it is none."""
    if np.shape(size) != (2,) or not all(is_count(x) for x in size):
        raise ValueError(f"{name} must be (height, width), not {size!r}.")
    return tuple(size)


def check_shape(input_shape):
    """Return `input_shape` = (H, W, C) or raise ValueError if a TransFuse cannot take it."""
    if np.shape(input_shape) != (3,) or not all(is_count(x) for x in input_shape):
        raise ValueError(f"input_shape must be (height, width, channels), not {input_shape}.")
    for size in input_shape[:2]:
        if size > LONGEST_SIDE:
            raise ValueError(
                f"Image size {input_shape[0]}x{input_shape[1]}: height and width must be at most "
                f"{LONGEST_SIDE}; choose a smaller size, and predict large images by tiles."
            )
        if size % PATCH_SIZE:
            raise ValueError(
                f"Image size {input_shape[0]}x{input_shape[1]}: height and width must be "
                f"multiples of {PATCH_SIZE}; {PATCH_SIZE * max(1, round(size / PATCH_SIZE))} "
                f"is the nearest to {size}."
            )
    return input_shape


def create_blocks(variant, cnn, input_shape, classes, dropout, position_grid):
    """All layers that hold weights, by name.

    Args:
        variant: Variant.
        cnn: a CNN of the user's own as a functional model, or None.
        input_shape, classes, dropout, position_grid: as `TransFuse` takes them.

    Returns: dict of name to layer. A branch that the variant does not have is not in it; neither
    are fusion and gated decoder without a second branch beside the first.
    """
    wide, middle, narrow = variant.widths
    blocks = {}
    if cnn:
        blocks["cnn"] = pyramid(cnn, input_shape, dropout)
    elif variant.cnn:
        blocks["cnn"] = create_cnn(variant.cnn, input_shape, dropout)
    if variant.vit in CNNS:
        blocks["vit"] = create_cnn(variant.vit, input_shape, dropout, "vit")
    elif variant.vit:
        seen, patch_size = input_shape, PATCH_SIZE
        if variant.sequential:
            seen, patch_size = blocks["cnn"].outputs[-1].shape[1:], 1
        blocks["vit"] = create_vit(variant.vit, seen, variant.depth, position_grid, patch_size)
    if variant.skips:
        blocks["decoder_8"] = UpBlock(middle, name="decoder_8")
        blocks["decoder_4"] = UpBlock(narrow, name="decoder_4")
    elif variant.vit not in CNNS:
        blocks["pup_decoder"] = PUPDecoder((middle, narrow), dropout, name="pup_decoder")
    if variant.parallel:
        parts = {"dropout": dropout / 2, "parts": variant.fusion}
        blocks |= {
            "bifusion_16": BiFusion(wide, 4, name="bifusion_16", **parts),
            "bifusion_8": BiFusion(middle, 2, name="bifusion_8", **parts),
            "bifusion_4": BiFusion(narrow, 1, name="bifusion_4", **parts),
            "decoder_8": GatedDecoder(middle, name="decoder_8"),
            "decoder_4": GatedDecoder(narrow, name="decoder_4"),
            "transformer_head": Head(classes, narrow, 4, name="transformer_head"),
            "fusion_head": Head(classes, narrow, 16, kernel_sizes=(1, 3), name="fusion_head"),
        }
    return blocks | {"mask_head": Head(classes, narrow, 4, name="mask_head")}


def connect_branches(blocks, image):
    """From the image to the logits of the three heads."""
    if "bifusion_16" not in blocks:
        connect_other = connect_unet if "decoder_8" in blocks else connect_alone
        return connect_other(blocks, image)
    g2, g1, g0 = blocks["cnn"](image)
    if "pup_decoder" in blocks:
        t0, t1, t2 = blocks["pup_decoder"](map_tokens(blocks["vit"], image))
    else:  # a second CNN in the transformer's place (E.4)
        t2, t1, t0 = blocks["vit"](image)

    f0 = blocks["bifusion_16"](g0, t0)
    f1 = blocks["bifusion_8"](g1, t1)
    f2 = blocks["bifusion_4"](g2, t2)
    decoded = blocks["decoder_8"](f0, f1)
    decoded = blocks["decoder_4"](decoded, f2)
    return {
        "mask": blocks["mask_head"](decoded),
        "transformer": blocks["transformer_head"](t2),
        "fusion": blocks["fusion_head"](f0),
    }


def connect_unet(blocks, image):
    """A U-Net (Ronneberger et al. 2015) on the CNN's maps at strides 4, 8 and 16."""
    g2, g1, g0 = blocks["cnn"](image)
    decoded = blocks["decoder_4"](blocks["decoder_8"](g0, g1), g2)
    return {"mask": blocks["mask_head"](decoded)}


def connect_alone(blocks, image):
    """One branch (E.1, E.2), or the transformer on top of the CNN (E.3), to the one head."""
    x = image
    if "cnn" in blocks:
        x = blocks["cnn"](x)[-1]
    if "vit" in blocks:
        x = map_tokens(blocks["vit"], x)
    return {"mask": blocks["mask_head"](blocks["pup_decoder"](x)[-1])}


def map_tokens(vit, x):
    """The tokens of a transformer as its map t0 at stride 16 of the image."""
    tokens = vit(x)
    patch_size = vit.get_layer("patch_embed").patch_size
    grid = (x.shape[1] // patch_size, x.shape[2] // patch_size)
    return layers.Reshape((*grid, tokens.shape[-1]), name="tokens_to_map")(tokens)
