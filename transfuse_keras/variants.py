"""The TransFuse variants as a plain table."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    """What tells one TransFuse from another.

    Attributes:
        cnn: CNN branch, a key of backbones.CNNS.
        vit: transformer branch, a key of backbones.VITS.
        depth: number of transformer blocks.
        widths: channels of fusion and decoder at strides 16, 8 and 4.
        mean, std: normalisation of RGB / 255 that the branches' published weights expect.
    """

    cnn: str
    vit: str
    depth: int
    widths: tuple[int, int, int]
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


VARIANTS = {
    # ours, for edge devices, demonstrations and tests
    "Ti": Variant("resnet18", "deit_tiny_patch16_224", 6, (128, 64, 32)),
    # the paper's TransFuse-S
    "S": Variant("resnet34", "deit_small_patch16_224", 8, (256, 128, 64)),
    # the larger model that the authors released; the paper's L has another CNN
    "L-R50": Variant("resnet50", "deit_base_patch16_224", 12, (1024, 512, 256)),
}
