"""Kvasir-SEG in its own split at 128 pixels, from random weights: what docs/results.md ablates on.

Unlike the polyp task: one size instead of three, in a third of the time, and mirror images instead
of no augmentation, without which so few images are soon known by heart.

    transfuse ablate --task benchmarks/kvasir.py --data DIR --recipe scratch-v1
"""

from dataclasses import replace

from transfuse_keras import tasks
from transfuse_keras.tasks import Augmentation, Recipe
from transfuse_keras.tasks.task import RECIPE_CHANGES

kvasir = replace(
    tasks.polyp,
    name="kvasir",
    augmentation=Augmentation(flip_horizontal=True, flip_vertical=True),
    recipe=replace(Recipe("Ti", (128, 128), epochs=8), **RECIPE_CHANGES["scratch-v1"]),
)
