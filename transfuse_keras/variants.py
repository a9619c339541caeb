"""The TransFuse variants as a plain table."""

from dataclasses import dataclass

import keras


@dataclass(frozen=True)
class Variant:
    """What tells one TransFuse from another.

    Attributes:
        cnn: CNN branch, a key of backbones.CNNS, or a keras.Model as `TransFuse(cnn=...)` takes.
        vit: transformer branch, a key of backbones.VITS.
        depth: number of transformer blocks.
        widths: channels of fusion and decoder at strides 16, 8 and 4.
    """

    cnn: str | keras.Model
    vit: str
    depth: int
    widths: tuple[int, int, int]


VARIANTS = {
    # ours, for edge devices, demonstrations and tests
    "Ti": Variant("resnet18", "deit_tiny_patch16_224", 6, (128, 64, 32)),
    # the paper's three; it leaves the widths of L and L* open, these are the released L-R50's
    "S": Variant("resnet34", "deit_small_patch16_224", 8, (256, 128, 64)),
    "L": Variant("res2net50_26w_4s", "deit_base_patch16_224", 10, (1024, 512, 256)),
    "L*": Variant("resnetv2_50x1_bit", "vit_base_patch16_224", 12, (1024, 512, 256)),
    # the larger model that the authors released
    "L-R50": Variant("resnet50", "deit_base_patch16_224", 12, (1024, 512, 256)),
}


def resolve_variant(variant):
    """A Variant from a name of VARIANTS, a Variant, or the dict that `get_config` stores.

    Raises: ValueError for an unknown name.
    """
    if isinstance(variant, Variant):
        return variant
    if isinstance(variant, dict):
        return Variant(**{**variant, "widths": tuple(variant["widths"])})  # JSON has no tuples
    if variant not in VARIANTS:
        raise ValueError(f"Unknown variant {variant!r}; known are {', '.join(VARIANTS)}.")
    return VARIANTS[variant]
