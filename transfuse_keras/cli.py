"""The `transfuse` command: the only place that reads arguments."""

import argparse
import sys

from transfuse_keras import commands
from transfuse_keras.devices import JIT, PRECISIONS
from transfuse_keras.errors import InputError
from transfuse_keras.export.formats import FORMATS
from transfuse_keras.export.verification import BUDGETS, OverBudget
from transfuse_keras.model.variants import ABLATIONS
from transfuse_keras.tasks.task import RECIPE_CHANGES
from transfuse_keras.training.ablation import TABLES
from transfuse_keras.training.callbacks import NonFiniteLoss

MODEL_HELP = "run folder, .keras, .tflite, .onnx or OpenVINO .xml file, or SavedModel folder"
TASK_HELP = "hip, polyp, skin, prostate, or a .py file that holds a Task"


def main(argv=None):
    """Run the command line.

    Returns: the exit code: 0 done, 1 training or an export failed (or training would), 2 unusable
    input, 130 interrupted.
    """
    arguments = parser().parse_args(argv)
    arguments.given = sys.argv[1:] if argv is None else list(argv)
    try:
        return arguments.run(arguments) or 0
    except InputError as error:
        return fail(2, error)
    except OSError as error:
        return fail(2, describe_os_error(error))
    except (NonFiniteLoss, OverBudget) as error:
        return fail(1, error)
    except KeyboardInterrupt:
        return fail(130, "interrupted; --resume goes on with a training after its last epoch")


def fail(code, message):
    print(f"transfuse: {' '.join(str(message).splitlines())}", file=sys.stderr)
    return code


def describe_os_error(error):
    """What the system said, behind the file that it was about."""
    file = error.filename2 or error.filename
    return f"{file}: {error.strerror}." if file and error.strerror else " ".join(str(error).split())


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one sentence, without the usage."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def parser():
    """The argument parser of all commands."""
    top = Parser(prog="transfuse", description="TransFuse for Keras 3.")
    subparsers = top.add_subparsers(required=True, metavar="COMMAND")
    train = subparsers.add_parser("train", help="train a task, score it and export the model")
    train.set_defaults(run=commands.run_train)
    add = train.add_argument
    add_settings(add)
    add("--seed", type=int, help="by default 0")
    add(
        "--val",
        choices=["none"],
        help="none: train on them too, keep the last epoch",
    )
    add("--patience", type=int, metavar="N", help="stop when N epochs brought no better score")
    add("--keep-checkpoints", action="store_true", help="a complete run can then go on for longer")
    add("--out", metavar="DIR", help="run folder; by default savedmodels/TASK, TASK-2, ...")
    add("--folds", type=int, metavar="N", help="cross-validation with N folds")
    add("--fold", type=int, metavar="K", help="only fold K (from 0) of --folds, 5 by default")
    add(
        "--resume",
        action="store_true",
        help="go on with the run or cross-validation in --out",
    )
    add("--from", dest="source", metavar="CONFIG.json", help="repeat the run that wrote this file")
    add("--devices", choices=["all"], help="all devices of this host; by default one")
    add(
        "--coordinator", metavar="HOST:PORT", help="address of process 0, to train on several hosts"
    )
    add("--processes", type=int, metavar="N", help="how many processes train together")
    add("--process", type=int, metavar="I", help="which of them this is, from 0")

    ablate = subparsers.add_parser("ablate", help="train the rows of the paper's Tables 5 and 6")
    ablate.set_defaults(run=commands.run_ablate)
    ablate.set_defaults(seed=None, folds=None, fold=None, val=None, patience=None)
    add = ablate.add_argument
    add("--table", type=int, nargs="+", choices=list(TABLES), help="by default both")
    add("--list", action="store_true", help="print the rows with their parameters; train nothing")
    add("--rows", nargs="+", choices=list(ABLATIONS), metavar="ROW", help="by default all")
    add("--seeds", type=int, default=2, metavar="N", help="trainings of each row (default 2)")
    add_settings(add)
    add("--out", metavar="DIR", help="by default savedmodels/ablation-TASK")
    add("--resume", action="store_true", help="go on in --out: what is complete is kept")

    check = subparsers.add_parser("check", help="list what would fail in training")
    check.set_defaults(run=commands.run_check)
    add = check.add_argument
    add("--task", required=True, help=TASK_HELP)
    add("--data", metavar="DIR", required=True, help="folder in any known layout")
    add_spacing(add)
    add("--out", metavar="PNG", help="contact sheet; by default check-TASK.png, here")

    evaluate = subparsers.add_parser("evaluate", help="score a trained model")
    evaluate.set_defaults(run=commands.run_evaluate)
    add = evaluate.add_argument
    add("--model", required=True, metavar="M", help=MODEL_HELP)
    add("--data", metavar="DIR", help="folder in any known layout; by default what M held out")
    add("--out", metavar="DIR", help="by default evaluations/NAME in the run folder")
    add("--task", help=TASK_HELP + "; by default the run's")
    add_threshold(add, "what the run keeps, else 0.5")
    add_flips(add)
    add_spacing(add)
    add_computing(add)

    predict = subparsers.add_parser("predict", help="masks of images or volumes")
    predict.set_defaults(run=commands.run_predict)
    add = predict.add_argument
    add("--model", required=True, metavar="M", help=MODEL_HELP)
    add("--input", required=True, nargs="+", metavar="FILE", help="files, folders or patterns")
    add("--out", required=True, metavar="DIR")
    add("--task", help=TASK_HELP + "; by default the run's")
    add_threshold(add, "what the run keeps, else 0.5", auto="")
    add_flips(add)
    add("--tile", action="store_true", help="large images by overlapping tiles, not shrunk")
    add("--no-overlays", action="store_true", help="masks only, no pictures")
    add_computing(add)

    compare = subparsers.add_parser("compare", help="paired difference of two runs")
    compare.set_defaults(run=commands.run_compare)
    compare.add_argument("first", metavar="RUN_A")
    compare.add_argument("second", metavar="RUN_B")

    report = subparsers.add_parser("report", help="write the report.html of a run again")
    report.set_defaults(run=commands.run_report)
    report.add_argument("folder", metavar="RUN")

    export = subparsers.add_parser("export", help="write a trained model in other formats")
    export.set_defaults(run=commands.run_export)
    add = export.add_argument
    add("--model", required=True, metavar="RUN", help="run folder or .keras file")
    add("--format", required=True, nargs="+", choices=list(FORMATS), help=", ".join(FORMATS))
    add(
        "--quantize",
        nargs="+",
        choices=list(BUDGETS),
        metavar="Q",
        help="none (default), float16 (litert, openvino), dynamic or int8 (litert)",
    )
    add("--data", metavar="DIR", help="labelled images to verify on; by default the run's own")
    add("--out", metavar="DIR", help="by default the folder of the model")

    benchmark = subparsers.add_parser("benchmark", help="speed and size of all formats of a model")
    benchmark.set_defaults(run=commands.run_benchmark)
    add = benchmark.add_argument
    add("--model", required=True, metavar="M", help=MODEL_HELP)
    add("--image-size", type=int, nargs=2, metavar=("H", "W"), help="by default the model's own")
    add("--threads", type=int, metavar="N", help="by default one for each core")
    add("--rounds", type=int, default=30, metavar="N", help="runs of each format (default 30)")
    return top


def add_settings(add):
    add("--task", help=TASK_HELP)
    add("--data", metavar="DIR", help="folder in any known layout; without it, phantoms")
    add_spacing(add)
    add(
        "--recipe",
        choices=list(RECIPE_CHANGES),
        help="paper (default), or scratch: without weights",
    )
    add("--variant", help="Ti, S, L, L* or L-R50; by default the task's own")
    add("--image-size", type=int, nargs=2, metavar=("H", "W"), help="multiples of 16")
    add("--epochs", type=int, metavar="N", help="with --resume, go on to so many")
    add("--batch-size", type=int)
    add("--accumulate", type=int, metavar="N", help="average the gradients of N batches a step")
    add("--lr", type=float, dest="learning_rate", help="learning rate")
    add(
        "--weights",
        metavar="W",
        help="none (default), imagenet, or a path: an authors' checkpoint, an own run or .keras "
        "file, or a folder with ImageNet weights of both branches",
    )
    add("--skip-heads", action="store_true", help="load all weights but those of the heads")
    add("--limit", type=int, metavar="N", help="use at most N training images")
    add_computing(add)
    add("--deterministic", action="store_true", help="only operations that repeat exactly")
    add_threshold(add, "0.5")


def add_spacing(add):
    add(
        "--spacing",
        type=float,
        nargs="+",
        metavar="MM",
        help="pixel spacing, one number or row and column, of images that do not tell theirs",
    )


def add_computing(add):
    add("--precision", choices=PRECISIONS, help="by default float32")
    add("--jit", choices=list(JIT), help="compile with XLA; auto, the default, as suits the device")


def add_threshold(add, default, auto=", or auto: by class, the best on validation data"):
    text = "probability from which on a pixel counts"
    add("--threshold", metavar="X", help=f"{text}{auto} (by default {default})")


def add_flips(add):
    text = "average over mirror images: h, v, hv or none; by default as the task says"
    add("--flip", choices=["h", "v", "hv", "none"], help=text)
