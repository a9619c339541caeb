"""Hippocampus in MRI volumes: front and back part, a task of your own on volumes.

    transfuse train --task examples/hippocampus.py --data DIR

DIR is Task04_Hippocampus of the Medical Segmentation Decathlon.
"""

from transfuse_keras.tasks import Augmentation, Recipe, Task

hippocampus = Task(
    name="hippocampus",
    classes=("anterior", "posterior"),
    channels=1,
    exclusive=True,
    tolerance=1.0,  # mm, a voxel: for NSD
    field=(64.0, 48.0),  # mm that a slice shows: 128 x 96 pixels of 0.5 mm
    augmentation=Augmentation(rotation=15, scale=0.15, shift=0.05, noise=0.1, gamma=(0.7, 1.5)),
    recipe=Recipe("S", (128, 96), epochs=30, batch_size=16, learning_rate=1e-4),
)
