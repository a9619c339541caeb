"""The `transfuse` command: the only place that reads arguments."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

TASK_HELP = "hip, polyp, skin, prostate, or a .py file that holds a Task"


def main(argv=None):
    """Run the command line.

    Returns: the exit code: 0 done, 1 training failed or would fail, 2 unusable input, 130
    interrupted.
    """
    arguments = parser().parse_args(argv)
    from transfuse_keras.callbacks import NonFiniteLoss
    from transfuse_keras.errors import InputError

    try:
        return arguments.run(arguments) or 0
    except (InputError, OSError) as error:
        return fail(2, error)
    except NonFiniteLoss as error:
        return fail(1, error)
    except KeyboardInterrupt:
        return fail(130, "interrupted; the best model so far, if an epoch ended, is model.keras")


def fail(code, message):
    print(f"transfuse: {message}", file=sys.stderr)
    return code


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one sentence, without the usage."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def parser():
    """The argument parser of all commands."""
    top = Parser(prog="transfuse", description="TransFuse for Keras 3.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    train = commands.add_parser("train", help="train a task, score it and export the model")
    train.set_defaults(run=run_train)
    add = train.add_argument
    add("--task", required=True, help=TASK_HELP)
    add("--data", metavar="DIR", help="folder in any known layout; without it, phantoms")
    add_spacing(add)
    add("--variant", help="Ti, S, L, L* or L-R50; by default the task's own")
    add("--image-size", type=int, nargs=2, metavar=("H", "W"), help="multiples of 16")
    add("--epochs", type=int)
    add("--batch-size", type=int)
    add("--lr", type=float, dest="learning_rate", help="learning rate")
    add(
        "--weights",
        metavar="W",
        help="none (default), imagenet, or a path: an authors' checkpoint, an own run or .keras "
        "file, or a folder with ImageNet weights of both branches",
    )
    add("--skip-heads", action="store_true", help="load all weights but those of the heads")
    add("--seed", type=int, default=0)
    add("--limit", type=int, metavar="N", help="use at most N training images")
    add("--out", metavar="DIR", help="run folder; by default savedmodels/TASK, TASK-2, ...")

    check = commands.add_parser("check", help="list what would fail in training")
    check.set_defaults(run=run_check)
    add = check.add_argument
    add("--task", required=True, help=TASK_HELP)
    add("--data", metavar="DIR", required=True, help="folder in any known layout")
    add_spacing(add)
    add("--out", metavar="PNG", help="contact sheet; by default check-TASK.png, here")

    export = commands.add_parser("export", help="write a trained model in other formats")
    export.set_defaults(run=run_export)
    add = export.add_argument
    add("--model", required=True, metavar="RUN", help="run folder or .keras file")
    add("--format", required=True, nargs="+", choices=["saved_model", "litert", "pytorch"])
    add("--out", metavar="DIR", help="by default the folder of the model")
    return top


def add_spacing(add):
    add(
        "--spacing",
        type=float,
        nargs="+",
        metavar="MM",
        help="pixel spacing, one number or row and column, of images that do not tell theirs",
    )


def spacing_of(arguments):
    """(row, column) in mm by --spacing, or None."""
    from transfuse_keras.data.layouts.listing import check_spacing
    from transfuse_keras.errors import InputError

    if arguments.spacing is None:
        return None
    try:
        return check_spacing(
            tuple(arguments.spacing * 2 if len(arguments.spacing) == 1 else arguments.spacing)
        )
    except ValueError as error:
        raise InputError(f"--spacing {error}.") from error


def run_check(arguments):
    from transfuse_keras.contact_sheet import write_contact_sheet
    from transfuse_keras.data.check import check
    from transfuse_keras.tasks import find_task

    task = find_task(arguments.task)
    report = check(task, arguments.data, spacing_of(arguments))
    for kind, lines in (("ERROR", report.errors), ("warning", report.warnings)):
        for line in lines:
            print(f"{kind}: {line}")
    print("\n".join(["", *report.notes, "", *report.table(task.classes), ""]))
    sheet = Path(arguments.out or f"check-{task.name}.png")
    if write_contact_sheet(sheet, report.splits, task):
        print(f"Contact sheet: {sheet}")
    print(f"{len(report.errors)} errors, {len(report.warnings)} warnings.")
    return 1 if report.errors else 0


def run_train(arguments):
    from transfuse_keras.tasks import find_task
    from transfuse_keras.training import train

    task = find_task(arguments.task)
    recipe = task.recipe if arguments.data else task.phantom_recipe or task.recipe
    given = {
        "variant": arguments.variant,
        "image_size": arguments.image_size and tuple(arguments.image_size),
        "epochs": arguments.epochs,
        "batch_size": arguments.batch_size,
        "learning_rate": arguments.learning_rate,
    }
    run = train(
        task,
        arguments.data,
        replace(recipe, **{key: value for key, value in given.items() if value is not None}),
        weights=None if arguments.weights == "none" else arguments.weights,
        skip_heads=arguments.skip_heads,
        seed=arguments.seed,
        limit=arguments.limit,
        out=arguments.out,
        spacing=spacing_of(arguments),
    )
    print(f"Done: {run}/report.html, {run}/model.keras, {run}/model.tflite")


def run_export(arguments):
    from transfuse_keras.export import FORMATS
    from transfuse_keras.weights import load_model

    model, path = load_model(arguments.model), Path(arguments.model)
    out = Path(arguments.out or (path if path.is_dir() else path.parent))
    out.mkdir(parents=True, exist_ok=True)
    for name in arguments.format:
        export, file = FORMATS[name]
        export(model, out / file)
        print(f"Wrote {out / file}")
