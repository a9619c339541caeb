"""Options of the commands that measure a model: evaluate, compare, report, benchmark."""

from transfuse_keras.arguments.parser import add_command
from transfuse_keras.arguments.shared import (
    MODEL_HELP,
    add_flip,
    add_image_size,
    add_model,
    add_reading,
    add_shard,
    add_spacing,
    add_speed,
    add_threshold,
)


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
    data("--out", metavar="DIR", help="folder to write (default: evaluations/NAME in the run)")
    add_shard(command, "score share I of N into --out, for the tasks of a cluster")
    merge = "pool the shards in DIR into tables and a report; takes no other option"
    data("--merge", metavar="DIR", help=merge)
    add_model(command, required=False)
    scoring = command.add_argument_group("scoring").add_argument
    add_threshold(scoring, "the run's, else 0.5")
    add_flip(command)
    add_speed(command)


def add_compare(top):
    command = add_command(
        *(top, "compare", "compare the scores of two runs case by case", "docs/evaluation.md"),
        "savedmodels/hip savedmodels/hip-2",
        "runs/a/evaluations/clinic runs/b/evaluations/clinic",
    )
    data = command.add_argument_group("data").add_argument
    data("first", metavar="RUN_A", help="folder of a run or an evaluation, or a table of cases")
    data("second", metavar="RUN_B", help="another one, scored on the same cases")


def add_report(top):
    command = add_command(
        *(top, "report", "write the report.html of a run again", "docs/evaluation.md"),
        "savedmodels/hip",
        "savedmodels/hip/evaluations/clinic",
    )
    data = command.add_argument_group("data").add_argument
    data("folder", metavar="RUN", help="folder of a run or an evaluation")


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
    threads = "threads of each runtime (default: one for each core)"
    speed("--threads", type=int, metavar="N", help=threads)
    speed("--rounds", type=int, metavar="N", help="runs of each format (default: 30)")
