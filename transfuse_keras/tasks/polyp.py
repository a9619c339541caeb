"""Polyps in colonoscopy frames (paper, Table 1).

    python train/run.py --task polyp                phantoms
    python train/run.py --task polyp --data DIR     PraNet's TrainDataset/ and TestDataset/, or
                                                    Kvasir-SEG and CVC-ClinicDB as downloaded

Paper: mean Dice .918 Kvasir, .918 ClinicDB, .773 ColonDB, .902 EndoScene, .733 ETIS, with
pretrained branches on 900 Kvasir and 550 ClinicDB images.

Reached here: Dice 0.722 on the 120 validation images of Kvasir-SEG, with Ti at 128x128 after 8
epochs from random weights, in the 44 minutes of all rows of the ablation (docs/results.md):
    transfuse ablate --task benchmarks/kvasir.py --data Kvasir-SEG --rows E.1 E.2 E.5 E.6 F.2 F.3
"""

from transfuse_keras.tasks.task import Recipe, Task

# As PraNet trains: 256, 352 and 448 pixels, every element of the gradient clipped.
PRANET = {"scales": (0.75, 1.0, 1.25), "clip_norm": None, "clip_value": 0.5}

polyp = Task(
    name="polyp",
    classes=("polyp",),
    protocols=("pranet",),
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
    paper={
        "Kvasir": {"dice": 0.918, "iou": 0.868},
        "ClinicDB": {"dice": 0.918, "iou": 0.868},
        "ColonDB": {"dice": 0.773, "iou": 0.696},
        "EndoScene": {"dice": 0.902, "iou": 0.833},
        "ETIS": {"dice": 0.733, "iou": 0.659},
    },
)
