"""Vision Transformer encoder, the first half of the paper's Transformer Branch."""

import keras

from transfuse_keras.layers.patch_embedding import PatchEmbedding
from transfuse_keras.layers.transformer import TransformerBlock, layer_norm

# names of timm; depth is that of the published model, a variant may take fewer blocks
VITS = {
    "deit_tiny_patch16_224": {"dim": 192, "depth": 12, "heads": 3},
    "deit_small_patch16_224": {"dim": 384, "depth": 12, "heads": 6},
    "deit_base_patch16_224": {"dim": 768, "depth": 12, "heads": 12},
    "deit_base_patch16_384": {"dim": 768, "depth": 12, "heads": 12},
    "vit_tiny_patch16_224": {"dim": 192, "depth": 12, "heads": 3},
    "vit_base_patch16_224": {"dim": 768, "depth": 12, "heads": 12},
}
PATCH_SIZE = 16


def create_vit(
    name: str,
    input_shape: tuple[int, int, int] = (224, 224, 3),
    depth: int | None = None,
    position_grid: tuple[int, int] | None = None,
    patch_size: int = PATCH_SIZE,
) -> keras.Model:
    """Vision Transformer without class token and classifier, as a functional model.

    Args:
        name: a key of VITS.
        input_shape: (H, W, C); H and W multiples of `patch_size`.
        depth: number of transformer blocks, at most and by default the published depth.
        position_grid: (rows, columns) for which position embeddings are stored, by default
            the token grid of `input_shape`.
        patch_size: side of a patch in pixels.

    Returns: keras.Model from (B, H, W, C) to tokens (B, H / patch_size * W / patch_size, dim)
    after the final LayerNorm, in row-major order.

    Raises: ValueError for an unknown name or a greater depth.

    Example:
        >>> import transfuse_keras as tk
        >>> vit = tk.create_vit("deit_tiny_patch16_224", input_shape=(64, 32, 3), depth=1)
        >>> vit.output_shape
        (None, 8, 192)
    """
    if name not in VITS:
        raise ValueError(f"Unknown transformer {name!r}; known are {', '.join(VITS)}.")
    spec = VITS[name]
    if depth and not 0 < depth <= spec["depth"]:
        raise ValueError(f"{name} has {spec['depth']} blocks at most, not {depth}.")
    image = keras.Input(input_shape)
    x = PatchEmbedding(spec["dim"], patch_size, position_grid, name="patch_embed")(image)
    for i in range(depth or spec["depth"]):
        x = TransformerBlock(spec["dim"], spec["heads"], name=f"blocks_{i}")(x)
    return keras.Model(image, layer_norm("norm")(x), name="vit")
