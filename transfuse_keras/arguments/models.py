"""Options of the commands that hand a model on: export, push, inspect."""

from transfuse_keras.arguments.parser import add_command
from transfuse_keras.arguments.shared import add_flip
from transfuse_keras.export.budgets import BUDGETS, QUANTIZATIONS


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
    model("--out", metavar="DIR", help="folder to write (default: that of the model)")
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
    hub("--out", metavar="DIR", help="folder to keep it in; without --repo nothing is uploaded")
    licence = "licence of the weights, as the hub spells it: cc-by-4.0, ...; it follows the data's"
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
