"""Options of the commands that predict: predict, serve, node."""

from transfuse_keras.arguments.parser import add_command
from transfuse_keras.arguments.shared import (
    MODELS_HELP,
    add_flip,
    add_model,
    add_shard,
    add_speed,
    add_threshold,
)


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
    report = "write areas and diameters as DICOM SR beside the DICOM SEG"
    data("--sr", action="store_true", help=report)
    outlines = "outlines to be corrected by hand, and certainty.csv, the least certain image first"
    data("--contours", nargs="+", choices=["coco", "labelme", "geojson"], help=outlines)
    spread = "of several models: write how far they differ, as NAME_spread.png and certainty.csv"
    data("--spread", action="store_true", help=spread)
    add_shard(command, "predict share I of N, for the tasks of a cluster")
    add_model(command)
    scoring = command.add_argument_group("scoring").add_argument
    add_threshold(scoring, "the run's, else 0.5", auto="")
    add_flip(command)
    tiles = "predict large images in tiles instead of shrinking them"
    scoring("--tile", action="store_true", help=tiles)
    speed = add_speed(command)
    runtime = "keras: use model.keras of a run folder, not its fastest verified export"
    speed("--runtime", choices=["keras"], help=runtime)


def add_serve(top):
    command = add_command(
        *(top, "serve", "answer HTTP requests with the masks of images", "docs/serving.md"),
        "--model savedmodels/hip",
        "--model savedmodels/hip --host 0.0.0.0 --port 80 --max-mb 64",
    )
    model = command.add_argument_group("model").add_argument
    model("--model", required=True, nargs="+", metavar="M", help=MODELS_HELP)
    service = command.add_argument_group("service").add_argument
    service("--host", help="address to listen on (default: 127.0.0.1, this machine alone)")
    service("--port", type=int, metavar="N", help="port; 0 takes a free one (default: 8080)")
    service("--max-mb", type=int, metavar="N", help="largest request in MiB (default: 256)")
    seconds = "seconds to receive a request, and again to predict it (default: 60)"
    service("--timeout", type=int, metavar="S", help=seconds)


def add_node(top):
    command = add_command(
        *(top, "node", "store the masks of new studies in a PACS (DICOMweb)", "docs/dicom.md"),
        "--dicomweb http://pacs:8042/dicom-web --model savedmodels/hip --modality DX CR",
        "--dicomweb http://pacs:8042/dicom-web --model savedmodels/hip --modality DX --once",
    )
    server = command.add_argument_group("server").add_argument
    server("--dicomweb", required=True, metavar="URL", help="address of the DICOMweb service")
    kinds = "modalities of the series to predict, such as DX CR"
    server("--modality", required=True, nargs="+", metavar="M", help=kinds)
    days = "look at the studies of the last N days, today included (default: 2)"
    server("--days", type=int, metavar="N", help=days)
    server("--interval", type=float, metavar="S", help="seconds between two looks (default: 60)")
    server("--once", action="store_true", help="go through the studies one time, then end")
    server("--sr", action="store_true", help="store areas and diameters as DICOM SR, too")
    add_model(command)
    scoring = command.add_argument_group("scoring").add_argument
    add_threshold(scoring, "the run's, else 0.5", auto="")
