"""Polyps in colonoscopy frames (paper, Table 1).

    transfuse train --task polyp                phantoms
    transfuse train --task polyp --data DIR     PraNet's TrainDataset/ and TestDataset/, or
                                                    Kvasir-SEG and CVC-ClinicDB as downloaded

Paper: mean Dice 0.918 Kvasir, 0.918 ClinicDB, 0.773 ColonDB, 0.902 EndoScene, 0.733 ETIS, with
pretrained branches on 900 Kvasir and 550 ClinicDB images.

Reached here: Dice 0.722 on the 120 validation images of Kvasir-SEG, with Ti at 128x128 after 8
epochs from random weights, in the 44 minutes of all rows of the ablation (docs/results.md):
    transfuse ablate --task benchmarks/kvasir.py --data Kvasir-SEG --rows E.1 E.2 E.5 E.6 F.2 F.3
"""

from typing import Any

from transfuse_keras.tasks.task import Augmentation, Recipe, Task

TEST_SETS = ("Kvasir", "ClinicDB", "ColonDB", "EndoScene", "ETIS")
# As PraNet trains: 256, 352 and 448 pixels, every element of the gradient clipped.
PRANET: dict[str, Any] = {"scales": (0.75, 1.0, 1.25), "clip_norm": None, "clip_value": 0.5}

ABNORMAL = ("49755003", "SCT", "Morphologically Abnormal Structure")

polyp = Task(
    name="polyp",
    classes=("polyp",),
    protocols=("pranet",),
    augmentation=Augmentation(),  # PraNet has none
    recipe=Recipe(
        "S",
        (352, 352),
        epochs=30,
        batch_size=16,
        learning_rate=1e-4,
        **PRANET,
    ),
    phantom_recipe=Recipe(
        "Ti",
        (128, 128),
        epochs=3,
        batch_size=8,
        learning_rate=1e-3,
        counts=(320, 32, 64),
        **PRANET,
    ),
    codes={"polyp": (("68496003", "SCT", "Polyp of colon"), ABNORMAL)},
    # Table 1: mDice, mIoU
    paper={
        variant: {
            name: dict(zip(("pranet_dice", "pranet_iou"), figures, strict=True))
            for name, figures in zip(TEST_SETS, rows, strict=True)
        }
        for variant, rows in {
            "S": ((0.918, 0.868), (0.918, 0.868), (0.773, 0.696), (0.902, 0.833), (0.733, 0.659)),
            "L": ((0.918, 0.868), (0.934, 0.886), (0.744, 0.676), (0.904, 0.838), (0.737, 0.661)),
            "L*": ((0.920, 0.870), (0.942, 0.897), (0.781, 0.706), (0.894, 0.826), (0.737, 0.663)),
        }.items()
    },
)
