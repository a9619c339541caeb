"""Prostate zones in MRI volumes, T2 and ADC (paper, Table 4).

    transfuse train --task prostate             phantoms
    transfuse train --task prostate --data DIR  Medical Segmentation Decathlon, Task05_Prostate

Paper: Dice 0.6738 peripheral zone (PZ), 0.8539 transition zone (TZ), in 5-fold cross-validation;
"follows the nnU-Net framework". Taken from nnU-Net for 2-D slices: the augmentations with their
ranges and probabilities, each drawn for itself; a third of every batch shows a class; z-scores by
volume and channel; mirror averaging; the clean-up of components. TransFuse's own stay: loss and its
three heads without deep supervision, Adam, batch size and epochs instead of SGD for 1000 epochs, a
fixed size of 320x320, epochs over all slices. Ours differs in small things: one draw for all
channels, contrast that is not clipped to the range before, colours before noise and blur.

Reached here: nothing on prostates, whose images were not at hand. In their place Dice 0.841 on 208
MRI volumes of the hippocampus, in 25 minutes on two CPU cores, from random weights
(docs/results.md):
    transfuse train --task examples/hippocampus.py --data DIR --recipe scratch-v1 \
        --variant Ti --epochs 2 --folds 5
"""

from transfuse_keras.tasks.task import Augmentation, Recipe, Task

STRUCTURE = ("91723000", "SCT", "Anatomical Structure")

prostate = Task(
    name="prostate",
    classes=("PZ", "TZ"),
    channels=2,
    exclusive=True,
    flips="hv",  # nnU-Net's mirror averaging
    field=(200.0, 200.0),  # 320 pixels of 0.625 mm
    augmentation=Augmentation(
        rotation=180,
        scale=(0.7, 1.4),
        flip_horizontal=True,
        flip_vertical=True,
        brightness=0.25,
        contrast=0.25,
        noise=0.1,
        blur=(0.5, 1.0),
        low_resolution=0.5,
        gamma=(0.7, 1.5),
        gamma_inverted=(0.7, 1.5),
        probability={
            "rotation": 0.2,
            "scale": 0.2,
            "brightness": 0.15,
            "contrast": 0.15,
            "noise": 0.1,
            "blur": 0.2,
            "low_resolution": 0.25,
            "gamma": 0.3,
            "gamma_inverted": 0.1,
        },
    ),
    recipe=Recipe("S", (320, 320), epochs=30, batch_size=16, learning_rate=1e-4, foreground=0.33),
    phantom_recipe=Recipe(
        "Ti",
        (128, 128),
        epochs=6,
        batch_size=8,
        learning_rate=1e-3,
        foreground=0.33,
        counts=(20, 3, 5),
    ),
    codes={
        "PZ": (("279706003", "SCT", "Peripheral zone of prostate"), STRUCTURE),
        "TZ": (("399384005", "SCT", "Transition zone of prostate"), STRUCTURE),
    },
    # Table 4
    paper={"S": {"PZ": {"dice": 0.6738}, "TZ": {"dice": 0.8539}, "mean": {"dice": 0.7639}}},
)
