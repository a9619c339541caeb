"""Options of the commands that read a data set: plan, check, convert."""

from transfuse_keras.arguments.parser import add_command
from transfuse_keras.arguments.shared import TASK_HELP, add_reading, add_spacing, add_weights


def add_plan(top):
    command = add_command(
        *(top, "plan", "look at a folder and plan a training on it", "docs/own-data.md"),
        "--data DIR",
        "--data DIR --save-task lungs.py",
    )
    data = command.add_argument_group("data").add_argument
    data("--data", metavar="DIR", required=True, help="folder in a known layout")
    add_spacing(data)
    add_reading(data)
    plan = command.add_argument_group("plan").add_argument
    add_save_task(plan)
    add_weights(plan, "imagenet if it can be had, else that package if it is installed, else none")


def add_save_task(add):
    file = "where to write the plan, a task file (default: NAME_task.py beside DIR)"
    add("--save-task", metavar="FILE", help=file)


def add_check(top):
    command = add_command(
        *(top, "check", "read a data set and list what would fail in training", "docs/data.md"),
        "--data DIR",
        "--task hip --data HIPS --spacing 0.143 --out hips.png",
    )
    data = command.add_argument_group("data").add_argument
    data("--task", help=f"{TASK_HELP} (default: the classes that are found)")
    data("--data", metavar="DIR", required=True, help="folder in a known layout")
    add_spacing(data)
    add_reading(data)
    data("--out", metavar="PNG", help="contact sheet (default: check-TASK.png)")


def add_convert(top):
    command = add_command(
        *(top, "convert", "write a data set as plain images and masks", "docs/data.md"),
        "--data COCO --out PLAIN",
        "--data LABELME --out PLAIN --task hip",
    )
    data = command.add_argument_group("data").add_argument
    data("--data", metavar="DIR", required=True, help="folder in a known layout, of images")
    data("--out", metavar="DIR", required=True, help="new or empty folder to write")
    data("--task", help=f"{TASK_HELP} (default: the classes that are found)")
    add_spacing(data)
    add_reading(data)
