"""The tasks that can be trained: four by name, others from a file."""

import runpy
from pathlib import Path

from transfuse_keras.errors import InputError
from transfuse_keras.tasks.hip import hip
from transfuse_keras.tasks.polyp import polyp
from transfuse_keras.tasks.prostate import prostate
from transfuse_keras.tasks.skin import skin
from transfuse_keras.tasks.task import Augmentation, Recipe, Task

TASKS = {task.name: task for task in (hip, polyp, skin, prostate)}

__all__ = [
    "TASKS",
    "Augmentation",
    "Recipe",
    "Task",
    "find_task",
    "hip",
    "polyp",
    "prostate",
    "skin",
]


def find_task(name: str) -> Task:
    """The task of this name, or the one that a Python file holds.

    Args:
        name: a key of TASKS, or the path of a `.py` file that makes exactly one Task. The file
            is run, as `python FILE` would run it.

    Raises: InputError if there is no such task, or the file fails.

    Example:
        >>> from transfuse_keras.tasks import find_task
        >>> find_task("hip").classes
        ('pelvis', 'left_femur', 'right_femur')
    """
    if not name.endswith(".py"):
        if name not in TASKS:
            known = ", ".join(TASKS)
            raise InputError(f"Unknown task '{name}'; known are: {known}, or a .py file.")
        return TASKS[name]
    if not Path(name).is_file():
        raise InputError(f"{name}: no such task file.")
    try:
        found = {id(x): x for x in runpy.run_path(name).values() if isinstance(x, Task)}
    except (Exception, SystemExit) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"{name}: fails with {type(error).__name__}: {reason}") from error
    if len(found) != 1:
        raise InputError(f"{name}: holds {len(found)} Tasks; exactly one must be there.")
    return found.popitem()[1]
