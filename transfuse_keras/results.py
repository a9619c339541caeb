"""What a finished training leaves: scores, pictures, exported models, report."""

import csv

import cv2
import numpy as np

from transfuse_keras.data.cache import read_fitted
from transfuse_keras.data.resize import resize_image, resize_masks
from transfuse_keras.evaluation import PROTOCOL, evaluate, summarize, write_cases
from transfuse_keras.export import (
    compare_exports,
    export_litert,
    export_saved_model,
    run_litert,
    run_saved_model,
)
from transfuse_keras.files import replacing, write_json
from transfuse_keras.inference import overlay, predict_sample, to_masks
from transfuse_keras.report import write_report

COMPARED = 8  # images on which the exported files are compared with the Keras model
PICTURES = 12  # overlays, from the worst case to the best
PICTURE_SIDE = 384  # small images are enlarged to this, so that outlines stay thin


def write_results(run, model, task, samples, data):
    """Score, draw, export and report a trained model.

    Args:
        run: Path of the run folder.
        model: TransFuse with its best weights.
        task: Task.
        samples: the test samples.
        data: what they are, for the report: a folder, or "phantom".

    Writes: cases.csv, overlays/, saved_model/, model.tflite, export.json, report.html and, last,
    metrics.json, which marks the run complete. Returns: the content of metrics.json.
    """
    print(f"Scoring {len(samples)} test cases")
    if any(sample.save for sample in samples):
        (run / "predictions").mkdir()
    rows = evaluate(model, samples, task, run / "predictions")
    write_cases(run / "cases.csv", rows)
    unit = "mm" if "hd_mm" in rows[0] else "px"
    metrics = {
        "task": task.name,
        "data": data,
        "protocol": PROTOCOL.format(unit=unit, what="image" if task.field is None else "volume"),
        "variant": model.variant,
        **summarize(rows),
    }

    print("Exporting saved_model and model.tflite")
    export_saved_model(model, run / "saved_model")
    export_litert(model, run / "model.tflite")
    runners = {
        "saved_model": run_saved_model(run / "saved_model"),
        "model.tflite": run_litert(run / "model.tflite"),
    }
    size = model.input_shape[1:3]
    images = [read_fitted(sample, size, task.field)[0] for sample in samples[:COMPARED]]
    exports = compare_exports(model, runners, [image[len(image) // 2] for image in images])
    write_json(run / "export.json", exports)

    pictures = write_overlays(run / "overlays", model, task, samples, rows)
    with (run / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    write_report(run / "report.html", metrics, history, pictures, exports)
    write_json(run / "metrics.json", metrics)
    return metrics


def write_overlays(folder, model, task, samples, rows):
    """Draw cases spread evenly from the worst Dice to the best.

    The Dice of a case is the mean over the classes that it shows, or over all if it shows none.

    Returns: list of (path, caption), worst first.
    """
    scores = {}
    for sample in samples:
        case = [row for row in rows if row["case"] == sample.name]
        shown = [row for row in case if not row["truth_empty"]]
        scores[sample.name] = np.mean([row["dice"] for row in shown or case])
    ranked = sorted(samples, key=lambda sample: scores[sample.name])
    chosen = np.linspace(0, len(ranked) - 1, min(PICTURES, len(ranked))).round().astype(int)
    pictures = []
    with replacing(folder) as temporary:
        temporary.mkdir()
        for rank, sample in enumerate((ranked[i] for i in chosen), 1):
            image, truth = sample.read()
            found = predict_sample(model, sample, image, task)
            prediction = to_masks(found, exclusive=task.exclusive)
            name = f"{rank:02}_{sample.file_name}.png"
            picture = overlay(*enlarge(*visible(image, prediction, truth)))
            cv2.imwrite(str(temporary / name), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            pictures.append((folder / name, f"{sample.name}: Dice {scores[sample.name]:.3f}"))
    return pictures


def visible(image, *masks):
    """What a person can look at: of a volume the slice with most of the last masks, its first
    channel from the darkest percent to the brightest as 0-255."""
    if image.ndim == 3:
        return image, *masks
    index = masks[-1].sum(axis=(1, 2, 3)).argmax()
    shown = image[index, ..., :1]
    low, high = np.percentile(shown, (1, 99))
    shown = np.clip(255 * (shown - low) / max(high - low, 1e-6), 0, 255).astype("uint8")
    return shown, *(mask[index] for mask in masks)


def enlarge(image, *masks):
    """Scale a small image and its masks up by a whole number, to about PICTURE_SIDE."""
    factor = max(1, round(PICTURE_SIDE / min(image.shape[:2])))
    size = (factor * image.shape[0], factor * image.shape[1])
    return resize_image(image, size), *(resize_masks(mask, size) for mask in masks)
