"""Hip radiographs: pelvis and both femurs, which may overlap (paper, Table 3).

    transfuse train --task hip                  phantoms: mean Dice 0.9 or more in minutes
    transfuse train --task hip --data DIR       DIR/images (PNG, JPEG, TIFF or DICOM) and
                                                    DIR/masks: labels 1, 2, 3, or a file per class

Left and right are the patient's: the left femur is on the right of the image.

Paper, in mm: pelvis HD 9.81, ASD 1.09; left femur 4.44, 0.767; right femur 4.19, 0.676.

Reached here: Dice 0.801 on 77 coronal MRI slices, a stand-in for radiographs, in 6 minutes on two
CPU cores, from random weights (docs/results.md):
    transfuse train --task hip --data DIR --recipe scratch-v1 \
        --variant Ti --image-size 128 128 --epochs 30
"""

from transfuse_keras.tasks.task import Augmentation, Recipe, Task

STRUCTURE = ("91723000", "SCT", "Anatomical Structure")
FEMUR_CODE = ("71341001", "SCT", "Femur")

hip = Task(
    name="hip",
    classes=("pelvis", "left_femur", "right_femur"),
    mirror_pairs=(("left_femur", "right_femur"),),
    augmentation=Augmentation(
        rotation=10, scale=0.1, shift=0.05, flip_horizontal=True, brightness=0.2, contrast=0.2
    ),
    recipe=Recipe("S", (352, 352), epochs=30, batch_size=16, learning_rate=1e-4),
    phantom_recipe=Recipe(
        "Ti", (128, 128), epochs=6, batch_size=8, learning_rate=1e-3, counts=(320, 32, 64)
    ),
    codes={
        "pelvis": (("816092008", "SCT", "Pelvis"), STRUCTURE),
        "left_femur": (FEMUR_CODE, STRUCTURE, ("7771000", "SCT", "Left")),
        "right_femur": (FEMUR_CODE, STRUCTURE, ("24028007", "SCT", "Right")),
    },
    # Table 3
    paper={
        "S": {
            "pelvis": {"hd_mm": 9.81, "asd_mm": 1.09},
            "left_femur": {"hd_mm": 4.44, "asd_mm": 0.767},
            "right_femur": {"hd_mm": 4.19, "asd_mm": 0.676},
        }
    },
)
