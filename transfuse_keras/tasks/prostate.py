"""Prostate zones in MRI volumes, T2 and ADC (paper, Table 4).

    python train/run.py --task prostate             phantoms
    python train/run.py --task prostate --data DIR  Medical Segmentation Decathlon, Task05_Prostate

Paper: Dice .6738 peripheral zone (PZ), .8539 transition zone (TZ), in 5-fold cross-validation,
trained and scored as nnU-Net does it.
"""

from transfuse_keras.tasks.task import Augmentation, Recipe, Task

prostate = Task(
    name="prostate",
    classes=("PZ", "TZ"),
    channels=2,
    exclusive=True,
    flips="hv",  # nnU-Net's mirror averaging
    field=(200.0, 200.0),  # 320 pixels of 0.625 mm
    # nnU-Net's list for 2-D slices
    augmentation=Augmentation(
        rotation=180,
        scale=0.3,
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
            **{"move": 0.2, "colour": 0.15, "noise": 0.1, "blur": 0.2},
            **{"low_resolution": 0.25, "gamma": 0.3, "gamma_inverted": 0.1},
        },
    ),
    recipe=Recipe("S", (320, 320), epochs=30, batch_size=16, learning_rate=1e-4),
    phantom_recipe=Recipe(
        "Ti", (128, 128), epochs=6, batch_size=8, learning_rate=1e-3, counts=(20, 3, 5)
    ),
    # Table 4
    paper={"S": {"PZ": {"dice": 0.6738}, "TZ": {"dice": 0.8539}, "mean": {"dice": 0.7639}}},
)
