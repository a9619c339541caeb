"""A plan as the text of a task file, which a person can read and change."""

import dataclasses
import json
import shlex
import textwrap

LINE_WIDTH = 96
# what a Line of a plan is about -> the field of Task or Recipe that it decides
FIELDS = {
    "classes": "classes",
    "changes": "augmentation",
    "size": "image_size",
    "variant": "variant",
    "batch": "batch_size",
    "epochs": "epochs",
    "start": "weights",
    "balance": "foreground",
    "scores": "threshold",
}


def write_source(plan, directory, file):
    """The text of a task file.

    Args:
        plan: Plan.
        directory: of the data, for the command in its first lines.
        file: that it will be, for the same.

    Returns: Python source, which makes `plan.task`, with the reasons as comments.
    """
    command = f"transfuse train --task {quote(file)} --data {quote(directory)}"
    reasons = {FIELDS[line.about]: line.reason for line in plan.lines if line.about in FIELDS}
    data = next(line for line in plan.lines if line.about == "data")
    return (
        f"# {data.choice}; {data.reason}.\n"
        "# Change what you like; each field is described in transfuse_keras/tasks/task.py.\n"
        f"# Train by it: {command}\n\n"
        "from transfuse_keras.tasks import Augmentation, Recipe, Task\n\n"
        f"{plan.task.name} = {write_fields(plan.task, reasons)}\n"
    )


def quote(path):
    return shlex.quote(" ".join(str(path).splitlines()))


def write_fields(content, reasons, indent=""):
    """A dataclass as the call that makes it: what has a reason or is not the default."""
    inner, lines = indent + "    ", []
    for field in dataclasses.fields(content):
        value = getattr(content, field.name)
        if dataclasses.is_dataclass(value):
            text = write_fields(value, reasons, inner)
        elif field.name in reasons or value != default_of(field):
            text = literal(value)
        else:
            continue
        if field.name in reasons:
            comment = f"{inner}# "
            lines += textwrap.wrap(
                reasons[field.name], LINE_WIDTH, initial_indent=comment, subsequent_indent=comment
            )
        lines.append(f"{inner}{field.name}={text},")
    return "\n".join([f"{type(content).__name__}(", *lines, f"{indent})"])


def default_of(field):
    made = field.default_factory is not dataclasses.MISSING
    return field.default_factory() if made else field.default


def literal(value):
    """Plain data as Python writes it."""
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, tuple):
        return "(" + ", ".join(map(literal, value)) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(k)}: {literal(x)}" for k, x in value.items()) + "}"
    return repr(value)
