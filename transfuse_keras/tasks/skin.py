"""Skin lesions in dermoscopy (paper, Table 2).

    transfuse train --task skin                 phantoms
    transfuse train --task skin --data DIR      ISIC 2016, 2017 or 2018 challenge folders, or
                                                    data_train.npy and mask_train.npy

Paper: Jaccard 0.795, Dice 0.872, accuracy 0.944 on the ISIC 2017 test set, with pretrained
branches.

Reached here: Jaccard 0.818, Dice 0.886, accuracy 0.959 on 200 training images of ISIC 2017 that
were held back, in 52 minutes of processor time, from random weights (docs/results.md):
    transfuse train --task skin --data DIR --recipe scratch-v2 --limit 640 --epochs 10 \
        --threshold auto
"""

from transfuse_keras.tasks.task import Augmentation, Recipe, Task

ABNORMAL = ("49755003", "SCT", "Morphologically Abnormal Structure")

skin = Task(
    name="skin",
    classes=("lesion",),
    protocols=("isic",),
    # the authors' code: rotation, scale and shift in half of the images, colour in half of them
    augmentation=Augmentation(
        rotation=25,
        scale=0.15,
        shift=0.15,
        flip_horizontal=True,
        flip_vertical=True,
        brightness=0.2,
        contrast=0.2,
        saturation=0.2,
        hue=0.2,
        probability={"move": 0.5, "colour": 0.5},
    ),
    pen_marks=4,
    recipe=Recipe("S", (192, 256), epochs=30, batch_size=16, learning_rate=7e-5),
    phantom_recipe=Recipe(
        "Ti", (96, 128), epochs=5, batch_size=8, learning_rate=1e-3, counts=(320, 32, 64)
    ),
    codes={"lesion": (("95324001", "SCT", "Skin lesion"), ABNORMAL)},
    # Table 2; the released code scores at 192x256
    paper={
        "S": {"lesion": {"iou_192x256": 0.795, "dice_192x256": 0.872, "accuracy_192x256": 0.944}}
    },
)
