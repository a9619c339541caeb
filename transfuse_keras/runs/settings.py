"""What makes a training what it is: plain data, kept as the config.json of its run folder."""

import logging
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from transfuse_keras.errors import InputError, blaming
from transfuse_keras.files import read_json
from transfuse_keras.tasks.task import Recipe, Task, as_task, tuples
from transfuse_keras.versions import versions

log = logging.getLogger(__name__)


PACKAGES = ("keras", "tensorflow", "numpy", "opencv-python-headless")


@dataclass(frozen=True)
class Settings:
    """A training, so that it can be repeated.

    Attributes:
        task: Task.
        data: folder in a known layout; None trains on the task's phantoms.
        recipe: Recipe; by default the task's own for data or for phantoms.
        weights: None, or what to start from, see `load_weights`.
        skip_heads: leave the heads random when loading weights, to train other classes.
        seed: of the initial weights, order, augmentation, dropout and phantoms.
        limit: use at most this many training samples.
        spacing: (row, column) mm of images whose pixel spacing is not known otherwise.
        threshold: a probability, "auto" for the best on the validation split, None for 0.5.
        fold: (index, count) of a cross-validation: that part of the patients is tested on.
        precision: "float32", "mixed_bfloat16" or "mixed_float16", see `computing_in`.
        jit: "on", "off" or "auto": whether XLA compiles the training.
        deterministic: use only operations that give the same result every time.
        masks, group: which folder holds the masks and what tells the patients, see `find_samples`.
    """

    task: Task
    data: str | None = None
    recipe: Recipe | None = None
    weights: str | None = None
    skip_heads: bool = False
    seed: int = 0
    limit: int | None = None
    spacing: tuple[float, float] | None = None
    threshold: float | str | None = None
    fold: tuple[int, int] | None = None
    precision: str = "float32"
    jit: str = "auto"
    deterministic: bool = False
    masks: str | None = None
    group: str | None = None

    def __post_init__(self):
        if self.recipe is None:
            task = self.task
            recipe = (self.data is None and task.phantom_recipe) or task.recipe
            object.__setattr__(self, "recipe", recipe)  # how a frozen dataclass does it

    def check(self):
        """Raise InputError if a number cannot be trained with."""
        recipe = self.recipe
        numbers = {
            "epochs": recipe.epochs,
            "batch size": recipe.batch_size,
            "learning rate": recipe.learning_rate,
            "number of accumulated batches": recipe.accumulate,
            "limit": 1 if self.limit is None else self.limit,
        }
        for name, number in numbers.items():
            if not number > 0:
                raise InputError(f"The {name} must be positive, not {number}.")
        if recipe.warm_up is not None and not 0 <= recipe.warm_up < 1:
            raise InputError(
                f"The recipe's warm_up must be from 0 to below 1, not {recipe.warm_up}."
            )
        if not 0 <= self.seed < 2**32:
            raise InputError(f"The seed must be between 0 and {2**32 - 1}, not {self.seed}.")


def backend():
    """The name of Keras' backend, which is imported here and not before."""
    import keras

    return keras.backend.backend()


def describe_settings(settings):
    """The content of config.json: the settings, with absolute paths, and what they ran with."""
    data, weights, group = settings.data, settings.weights, settings.group
    return {
        **asdict(settings),
        "data": "phantom" if data is None else str(Path(data).resolve()),
        "group": str(Path(group).resolve()) if group and Path(group).is_file() else group,
        "weights": weights if weights in (None, "imagenet") else str(Path(weights).resolve()),
        "backend": backend(),
        "versions": versions(*PACKAGES),
    }


def read_settings(path):
    """The Settings of a run; says if it was made with other versions.

    Args:
        path: of its config.json.

    Raises: InputError if the file is missing, damaged or of something else.
    """
    path = Path(path)
    with blaming(path, "is not the config.json of a run"):
        content = read_json(path)
        names = {field.name for field in fields(Settings)}
        plain = {key: tuples(value) for key, value in content.items() if key in names}
        settings = Settings(
            **{
                **plain,
                "task": as_task(content["task"]),
                "recipe": Recipe(**plain["recipe"]),
                "data": None if content["data"] == "phantom" else content["data"],
            }
        )
        made_with = {"backend": content["backend"], **content["versions"]}
    ours = describe_settings(settings)
    ours = {"backend": ours["backend"], **ours["versions"]}
    other = [f"{x} {made_with.get(x)}, now {ours[x]}" for x in ours if made_with.get(x) != ours[x]]
    if other:
        log.info(f"{path}: was made with {'; '.join(other)}.")
    return settings
