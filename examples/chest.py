"""Chest radiographs: lungs, heart and clavicles, a task of your own in ten lines.

    transfuse train --task examples/chest.py --data DIR --spacing 0.9333

DIR/images holds radiographs, DIR/masks label maps of the same stem: 1 lungs, 2 heart, 3 clavicles.
"""

from transfuse_keras.tasks import Augmentation, Recipe, Task

chest = Task(
    name="chest",
    classes=("lungs", "heart", "clavicles"),
    exclusive=True,
    patient=".+",  # every radiograph is of another patient
    augmentation=Augmentation(rotation=10, scale=0.1, shift=0.05, brightness=0.2, contrast=0.2),
    recipe=Recipe("S", (256, 256), epochs=60, batch_size=8, learning_rate=1e-4),
)
