"""The tasks that can be trained by name."""

from transfuse_keras.errors import InputError
from transfuse_keras.tasks.hip import hip
from transfuse_keras.tasks.task import Augmentation, Recipe, Task

TASKS = {task.name: task for task in (hip,)}

__all__ = ["TASKS", "Augmentation", "Recipe", "Task", "find_task", "hip"]


def find_task(name):
    """The task of this name; InputError naming the known ones if there is none."""
    if name not in TASKS:
        raise InputError(f"Unknown task '{name}'; known are: {', '.join(TASKS)}.")
    return TASKS[name]
