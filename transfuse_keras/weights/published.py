"""The published weights of the branches as a plain table."""

from dataclasses import dataclass

from transfuse_keras.data.normalization import IMAGENET

HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclass(frozen=True)
class Published:
    """One file of weights on the Hugging Face hub.

    Attributes:
        licence: as the repository states it.
        trained_on: the training set.
        normalization: (mean, std) of RGB / 255 that the weights were trained with.
        image_size: height and width in pixels they were trained at.
        revision: commit of the repository, or its branch where the commit is not known to us.
        sha256: of the file, in hexadecimal; None where it is not known to us. What is loaded is
            checked against it, and recorded in any case, see `weights.hub`.
        file: its name in the repository `timm/<key of PUBLISHED>`.
    """

    licence: str
    trained_on: str
    normalization: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET
    image_size: int = 224
    revision: str = "main"
    file: str = "model.safetensors"
    sha256: str | None = None


BSD, APACHE, IN1K, IN21K = "bsd-3-clause", "apache-2.0", "ImageNet-1k", "ImageNet-21k"

# <branch>.<training>: what weights="imagenet" takes for a branch
PUBLISHED = {
    "resnet18.tv_in1k": Published(BSD, IN1K, revision="bbd144b3e5565108aad885f145491d11bc6ce807"),
    "resnet34.tv_in1k": Published(BSD, IN1K, revision="1b7b21cca82ff974d341713f777bf740c2db38c4"),
    "resnet50.tv_in1k": Published(BSD, IN1K, revision="78f3ecfdb38e06d9b8397f662e7ab8fee96026fa"),
    "vgg16.tv_in1k": Published(BSD, IN1K),
    "res2net50_26w_4s.in1k": Published("unknown", IN1K),
    "resnetv2_50x1_bit.goog_in21k": Published(APACHE, IN21K, HALF),
    "deit_tiny_patch16_224.fb_in1k": Published(
        APACHE, IN1K, revision="80e968688553f219e4a86f940ed945a23709c16f"
    ),
    "deit_small_patch16_224.fb_in1k": Published(
        APACHE, IN1K, revision="91327a9c99f98fe6b524cd4d397b7226b80e1365"
    ),
    "deit_base_patch16_224.fb_in1k": Published(
        APACHE, IN1K, revision="b78cc5532a69df6bcad9c3a8d76653fd20b31ac6"
    ),
    "deit_base_patch16_384.fb_in1k": Published(APACHE, IN1K, image_size=384),
    "tf_efficientnet_lite0.in1k": Published(APACHE, IN1K, HALF),
    "vit_tiny_patch16_224.augreg_in21k": Published(APACHE, IN21K, HALF),
    "vit_base_patch16_224.augreg_in21k": Published(APACHE, IN21K, HALF),
}


def default_weights(branch):
    """The key of PUBLISHED that a branch, a key of CNNS or VITS, starts from."""
    return next(name for name in PUBLISHED if name.partition(".")[0] == branch)


def find_normalization(cnn, vit):
    """(mean, std) of RGB / 255 that both branches' published weights expect.

    Args:
        cnn: a key of CNNS, or None for a CNN of the user's own, which follows the transformer.
        vit: a key of VITS or CNNS; None for a CNN alone.

    Raises: ValueError if the two expect different images.
    """
    expected = {name: PUBLISHED[default_weights(name)].normalization for name in (cnn, vit) if name}
    if len(set(expected.values())) > 1:
        known = "; ".join(f"{name} mean {m} std {s}" for name, (m, s) in expected.items())
        raise ValueError(f"Branches trained with different normalisation cannot be mixed: {known}.")
    return next(iter(expected.values()), IMAGENET)
