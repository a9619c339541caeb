"""Options of the commands that train: train, ablate."""

from transfuse_keras.arguments.data import add_save_task
from transfuse_keras.arguments.parser import add_command
from transfuse_keras.arguments.shared import (
    TASK_HELP,
    add_image_size,
    add_reading,
    add_spacing,
    add_speed,
    add_threshold,
    add_weights,
)
from transfuse_keras.model.variants import ABLATIONS, VARIANTS
from transfuse_keras.tasks.task import RECIPE_CHANGES
from transfuse_keras.training.paper_tables import TABLES


def add_train(top):
    command = add_command(
        *(top, "train", "train a model, score it and export it", "docs/training.md"),
        "--data DIR",
        "--task skin --data ISIC2018 --epochs 50 --out runs/skin --resume",
    )
    data = add_data(command, "; without it a task is planned for --data")
    add_save_task(data)
    data("--folds", type=int, metavar="N", help="cross-validation with N folds")
    data("--fold", type=int, metavar="K", help="train only fold K, from 0, of --folds (default: 5)")
    add_training(command, "imagenet or that package if they can be had, else none")
    run = command.add_argument_group("run").add_argument
    run("--out", metavar="DIR", help="run folder (default: savedmodels/TASK, TASK-2, ...)")
    resume = "go on with the run in --out, or start it there; more --epochs train it for longer"
    run("--resume", action="store_true", help=resume)
    limit = "end within this time, such as 2h or 1h30m: timed steps decide the number of epochs"
    run("--time-limit", metavar="T", help=limit)
    filling = "choose the largest batch that fits into memory and saves time, by timed steps"
    run("--auto-batch", action="store_true", help=filling)
    kept = "keep the checkpoints of a complete run, so that it can go on for longer"
    run("--keep-checkpoints", action="store_true", help=kept)
    run("--from", dest="source", metavar="CONFIG.json", help="repeat the run that wrote this file")
    run("--no-export", action="store_true", help="do not export the model to other formats")
    run("--no-report", action="store_true", help="do not write report.html")
    told = "send epochs and test scores to experiment trackers too, beside history.csv"
    run("--track", nargs="+", choices=["wandb", "mlflow"], help=told)
    speed = add_speed(command)
    speed("--devices", choices=["all"], help="train on all devices of this host (default: one)")
    hosts = command.add_argument_group("several machines").add_argument
    hosts("--coordinator", metavar="HOST:PORT", help="address of process 0")
    hosts("--processes", type=int, metavar="N", help="how many processes train together")
    hosts("--process", type=int, metavar="I", help="which of them this is, from 0")


def add_ablate(top):
    command = add_command(
        *(top, "ablate", "train the rows of the paper's Tables 5 and 6", "docs/results.md"),
        "--list",
        "--task skin --data ISIC2017 --table 6 --out runs/table-6",
    )
    rows = command.add_argument_group("rows").add_argument
    tables = "tables of the paper (default: both)"
    rows("--table", type=int, nargs="+", choices=list(TABLES), help=tables)
    wanted = "rows to train (default: all)"
    rows("--rows", nargs="+", choices=list(ABLATIONS), metavar="ROW", help=wanted)
    rows("--seeds", type=int, metavar="N", help="trainings of each row (default: 2)")
    listed = "print the rows with their parameters; train nothing"
    rows("--list", dest="only_list", action="store_true", help=listed)
    add_data(command)
    add_training(command, "none", seed=False)
    run = command.add_argument_group("run").add_argument
    run("--out", metavar="DIR", help="folder of the runs (default: savedmodels/ablation-TASK)")
    run("--resume", action="store_true", help="go on in --out; what is complete is kept")
    add_speed(command)


def add_data(command, without=""):
    add = command.add_argument_group("data").add_argument
    add("--task", help=TASK_HELP + without)
    add("--data", metavar="DIR", help="folder in a known layout (default: artificial phantoms)")
    add_spacing(add)
    add_reading(add)
    add("--limit", type=int, metavar="N", help="use at most N training images")
    return add


def add_training(command, weights, seed=True):
    add = command.add_argument_group("model").add_argument
    add("--variant", help=f"{', '.join(VARIANTS)} (default: the task's)")
    add_image_size(add, "the task's; multiples of 16")
    around = "volumes: the model also sees K slices on either side (2.5D; default: the task's)"
    add("--context", type=int, metavar="K", help=around)
    add_weights(add, f"the task's, else {weights}")
    add("--skip-heads", action="store_true", help="leave out the weights of the three heads")
    add = command.add_argument_group("training").add_argument
    recipe = (
        "paper (default on phantoms, and with pretrained weights of both branches), scratch "
        "(default otherwise), or scratch as it was before: scratch-v3 has Adam instead of Muon, "
        "scratch-v2 also no pen marks on skin, scratch-v1 also no white balance and threshold 0.5"
    )
    add("--recipe", choices=list(RECIPE_CHANGES), help=recipe)
    seen = "how often each image is seen (default: the task's)"
    add("--epochs", type=int, metavar="N", help=seen)
    add("--patience", type=int, metavar="N", help="stop when N epochs brought no better score")
    validation = "none: train on the validation images too and keep the last epoch"
    add("--val", choices=["none"], help=validation)
    add("--batch-size", type=int, metavar="N", help="images a step (default: the task's)")
    add("--accumulate", type=int, metavar="N", help="average the gradients of N batches in a step")
    rate = "learning rate (default: the task's)"
    add("--lr", type=float, dest="learning_rate", metavar="X", help=rate)
    if seed:
        add("--seed", type=int, metavar="N", help="seed of all random choices (default: 0)")
    repeat = "use only operations that give the same result each time"
    add("--deterministic", action="store_true", help=repeat)
    default = "0.5; auto where the recipe scratch trains on images"
    add_threshold(command.add_argument_group("scoring").add_argument, default)
