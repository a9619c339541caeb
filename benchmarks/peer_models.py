"""The models that TransFuse is compared with: each built from random weights for a run of ours.

A builder takes (size, channels, classes) and gives a PyTorch module: images (B, C, H, W),
normalised, to logits (B, M, H, W), or to a tuple whose first are the mask's.
"""

import torch
from plain_transfuse import PlainTransFuse, structure_loss, training_loss
from torch import nn

FIXED_SIZE = ("TransUNet",)  # cannot train at several scales


def smp_model(kind, encoder):
    """A builder of a model of segmentation_models_pytorch."""

    def build(size, channels, classes):
        import segmentation_models_pytorch as smp

        return getattr(smp, kind)(
            encoder, encoder_weights=None, in_channels=channels, classes=classes
        )

    return build


def plain_transfuse(size, channels, classes):
    """The authors' network; the transformer begins as theirs, of timm, does."""
    if channels != 3:
        raise ValueError(f"TransFuse in its plain form takes images of 3 channels, not {channels}.")
    model = PlainTransFuse(size, classes)
    nn.init.trunc_normal_(model.transformer.pos_embed, std=0.02)
    for module in model.transformer.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    return model


class KerasModel(nn.Module):
    """A Keras model on the backend of PyTorch, channels last, as a PyTorch module."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        maps = self.model(x.permute(0, 2, 3, 1), training=self.training)
        return maps.permute(0, 3, 1, 2)


def transunet(size, channels, classes):
    from medicai.models import TransUNet

    model = TransUNet(
        input_shape=(*size, channels),
        encoder_name="resnet50",
        num_classes=classes,
        classifier_activation=None,
    )
    return KerasModel(model)


BUILDERS = {
    "U-Net": smp_model("Unet", "resnet34"),
    "U-Net++": smp_model("UnetPlusPlus", "resnet34"),
    "FPN": smp_model("FPN", "resnet34"),
    "SegFormer": smp_model("Segformer", "mit_b0"),
    "TransFuse-plain": plain_transfuse,
    "TransUNet": transunet,
}


def mask_of(outputs):
    """The logits of the mask among what a model gives."""
    return outputs[0] if isinstance(outputs, tuple) else outputs


def loss_of(outputs, masks):
    """The loss of our recipes; of the plain form that of its three heads."""
    if isinstance(outputs, tuple):
        return training_loss(outputs, masks)
    return structure_loss(outputs, masks)


def build(name, size, channels, classes, seed):
    torch.manual_seed(seed)
    if name == "TransUNet":
        import keras

        keras.utils.clear_session()  # else its weights are named after those that were built before
        keras.utils.set_random_seed(seed)
    return BUILDERS[name](size, channels, classes)
