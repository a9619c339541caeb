"""The `transfuse` command: the only place that reads arguments."""

import argparse
import sys
from dataclasses import replace


def main(argv=None):
    """Run the command line.

    Returns: the exit code: 0 done, 1 training failed, 2 unusable input, 130 interrupted.
    """
    arguments = parser().parse_args(argv)
    from transfuse_keras.callbacks import NonFiniteLoss
    from transfuse_keras.errors import InputError

    try:
        arguments.run(arguments)
    except (InputError, OSError) as error:
        return fail(2, error)
    except NonFiniteLoss as error:
        return fail(1, error)
    except KeyboardInterrupt:
        return fail(130, "interrupted; the best model so far, if an epoch ended, is model.keras")
    return 0


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
    add("--task", required=True, help="hip")
    add("--data", metavar="DIR", help="folder with images/ and masks/; without it, phantoms")
    add("--variant", help="Ti, S or L-R50; by default the task's own")
    add("--image-size", type=int, nargs=2, metavar=("H", "W"), help="multiples of 16")
    add("--epochs", type=int)
    add("--batch-size", type=int)
    add("--lr", type=float, dest="learning_rate", help="learning rate")
    add("--weights", metavar="PATH", help="none (default) or a weights file to start from")
    add("--seed", type=int, default=0)
    add("--limit", type=int, metavar="N", help="use at most N training images")
    add("--out", metavar="DIR", help="run folder; by default savedmodels/TASK, TASK-2, ...")
    return top


def run_train(arguments):
    from transfuse_keras.tasks import find_task
    from transfuse_keras.training import train

    task = find_task(arguments.task)
    recipe = task.recipe if arguments.data else task.phantom_recipe
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
        seed=arguments.seed,
        limit=arguments.limit,
        out=arguments.out,
    )
    print(f"Done: {run}/report.html, {run}/model.keras, {run}/model.tflite")
