"""A plan for a folder: the data is looked at, the plan told and kept as a task file."""

import logging
import os
import shutil
import sys
import textwrap
from pathlib import Path

from transfuse_keras.data.memory import available_memory
from transfuse_keras.data.survey import survey
from transfuse_keras.devices import name_accelerators
from transfuse_keras.errors import InputError
from transfuse_keras.files import replacing
from transfuse_keras.model.variants import resolve_variant
from transfuse_keras.tasks.facts import Machine
from transfuse_keras.tasks.plan import ACCELERATOR, CPU, make_plan
from transfuse_keras.tasks.source import write_source
from transfuse_keras.weights import efficientnet
from transfuse_keras.weights.hub import can_fetch
from transfuse_keras.weights.published import PUBLISHED, default_weights

log = logging.getLogger(__name__)


def plan_folder(
    directory,
    file=None,
    weights=None,
    variant=None,
    spacing=None,
    masks=None,
    group=None,
    alone=False,
):
    """Plan a training on a folder, say the plan, and keep it as a task file.

    Args:
        directory: folder in a known layout.
        file: the task file to write; None for `<name>_task.py` beside the folder, or the first
            free `<name>_task-2.py`, ... if a file of that name holds something else.
        weights: what the training shall start from, as --weights; None for published weights where
            they can be had: from the hub for the usual variant, else by pip for Lite.
        variant: that will be trained in place of the planned one; None for the planned one.
        spacing, masks, group: as of `find_samples`.
        alone: say how the folder was read and divided, as no training follows that says it.

    Returns: Path of the task file.

    Raises: InputError if the folder cannot be used, or `file` holds something else.
    """
    log.info(f"Looking at {directory}")
    facts = survey(directory, spacing, masks, group)
    for note in facts.notes if alone else ():
        log.info(note)
    plan = make_plan(facts, look_at_machine(weights, variant))
    path = save_source(plan, Path(directory), file and Path(file))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    log.info("\n".join(["", *format_plan(plan, width), "", f"Plan: {path}"]))
    return path


def look_at_machine(weights=None, variant=None):
    """Machine of this process, for a training as `plan_folder` describes it."""
    accelerator = bool(name_accelerators())
    memory = float("inf") if accelerator else available_memory()
    if weights is None:
        weights = choose_weights(variant or (ACCELERATOR if accelerator else CPU).variant)
        if weights == "none" and variant is None and efficientnet.has_package():
            weights = efficientnet.PACKAGE
    return Machine(memory, accelerator, weights)


def choose_weights(variant):
    """What a training starts from where nobody says it: "imagenet" if the published weights of a
    variant can be had, which is said with their licences, else the package that holds those of its
    CNN if it is installed, else "none".

    Raises: InputError if there is no such variant.
    """
    try:
        variant = resolve_variant(variant)
    except ValueError as error:
        raise InputError(str(error)) from error
    branches = [branch for branch in (variant.cnn, variant.vit) if branch]
    if not all(isinstance(branch, str) for branch in branches):  # a CNN of the user's own
        return "none"
    names = [default_weights(branch) for branch in branches]
    if not can_fetch(names):
        packaged = variant.cnn == efficientnet.CNN and efficientnet.has_package()
        return efficientnet.PACKAGE if packaged else "none"
    told = " and ".join(f"{name} ({PUBLISHED[name].licence})" for name in names)
    log.info(f"Published weights: {told}; --weights none starts without them.")
    return "imagenet"


def format_plan(plan, width=None):
    """The lines of a plan as a table: what, choice, reason; of a terminal of so many columns they
    are broken with the first column kept free."""
    first = max(len(line.about) for line in plan.lines)
    rows = [f"{line.about:{first}}  {line.choice} ({line.reason})" for line in plan.lines]
    free = " " * (first + 2)
    return [
        line
        for row in rows
        for line in (textwrap.wrap(row, width, subsequent_indent=free) if width else [row])
    ]


def save_source(plan, directory, file=None):
    """Write a plan as a task file, see `plan_folder`. Returns: its Path."""

    def encode(file):
        return write_source(plan, directory.resolve(), file.resolve()).encode()

    def holds_another(file):
        return file.exists() and file.read_bytes() != encode(file)

    if file is None:
        beside = directory.resolve().parent
        folder = beside if os.access(beside, os.W_OK) else Path.cwd()
        file, number = folder / f"{plan.task.name}_task.py", 1
        while holds_another(file):
            log.info(f"{file} holds another plan and stays; --task trains by it.")
            number += 1
            file = folder / f"{plan.task.name}_task-{number}.py"
    elif file.suffix != ".py":
        raise InputError(f"{file}: a task file ends in .py.")
    elif holds_another(file):
        raise InputError(
            f"{file}: holds something else than this plan; train by it with --task {file}, or give "
            "the plan another name by --save-task."
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary:
        temporary.write_bytes(encode(file))
    return file
