"""Scoring a model on samples at their native size."""

import csv
import math
import sys

import keras
import numpy as np

from transfuse_keras.files import replacing
from transfuse_keras.inference import predict_sample, to_masks
from transfuse_keras.metrics import dice, iou, surface_scores

OVERLAP = {"dice": dice, "iou": iou}
PROTOCOL = (
    "per {what} and class at native size, threshold 0.5; a class scores the mean over the {what}s "
    "whose truth is not empty; surface distances in {unit}, undefined where either mask is empty"
)


def score_case(truth, prediction, spacing, classes):
    """Scores of one image or volume.

    Args:
        truth, prediction: 0/1 (H, W, M) or (D, H, W, M).
        spacing: millimetres per pixel along each axis; None scores distances in pixels.
        classes: names of the M classes.

    Returns: one dict per class: "class", "truth_empty", "prediction_empty", "dice", "iou" and
    the distances hd, hd95, asd and assd with the unit in their name, such as "hd_mm".
    """
    unit = "px" if spacing is None else "mm"
    rows = []
    for i, name in enumerate(classes):
        masks = truth[..., i].astype(bool), prediction[..., i].astype(bool)
        distances = surface_scores(*masks, spacing)
        rows.append(
            {
                "class": name,
                "truth_empty": not masks[0].any(),
                "prediction_empty": not masks[1].any(),
                **{metric: function(*masks) for metric, function in OVERLAP.items()},
                **{f"{metric}_{unit}": distance for metric, distance in distances.items()},
            }
        )
    return rows


def evaluate(model, samples, task, folder=None):
    """Predict and score samples.

    Args:
        model: TransFuse.
        samples: list of Sample.
        task: Task.
        folder: where the predicted masks of volumes are written as NIfTI, or None.

    Returns: list of dicts as `score_case` gives, with the "case" in front. Distances are in
    pixels for all as soon as one spacing is unknown.
    """
    verbose = 1 if sys.stdout.isatty() else 2
    progress = keras.utils.Progbar(len(samples), unit_name="image", verbose=verbose)
    in_mm = all(sample.spacing is not None for sample in samples)
    rows = []
    for sample in samples:
        image, truth = sample.read()
        found = predict_sample(model, sample, image, task)
        prediction = to_masks(found, exclusive=task.exclusive)
        if folder is not None and sample.save is not None:
            sample.save(folder / f"{sample.file_name}.nii.gz", prediction)
        spacing = sample.spacing if in_mm else None
        scores = score_case(truth, prediction, spacing, task.classes)
        rows += [{"case": sample.name, **row} for row in scores]
        progress.add(1)
    return rows


def summarize(rows):
    """Summarise the rows of `evaluate`.

    Returns: {"n", "unit", "mean": {metric: value}, "classes": {name: {metric: value}},
    "undefined": {name: {metric: count}}}. The value of a class is the mean over the cases whose
    truth is not empty; beside it stand "n", their number, and "empty_kept_empty", the share of
    empty truths predicted empty (nan without such). "mean" is the mean over the classes that
    have a value. A metric with nothing to average is nan.
    """
    metrics = [key for key in rows[0] if isinstance(rows[0][key], float)]
    summary = {"n": len({row["case"] for row in rows}), "mean": {}, "classes": {}, "undefined": {}}
    for name in dict.fromkeys(row["class"] for row in rows):
        cases = [row for row in rows if row["class"] == name]
        present = [row for row in cases if not row["truth_empty"]]
        absent = [row["prediction_empty"] for row in cases if row["truth_empty"]]
        values = {metric: [row[metric] for row in present] for metric in metrics}
        summary["classes"][name] = {
            **{metric: mean(values[metric]) for metric in metrics},
            "n": len(present),
            "empty_kept_empty": mean(absent),
        }
        summary["undefined"][name] = {
            metric: sum(math.isnan(row[metric]) for row in cases) for metric in metrics
        }
    for metric in metrics:
        summary["mean"][metric] = mean([scores[metric] for scores in summary["classes"].values()])
    return summary


def mean(values):
    """Mean of the values that are not nan; nan if there are none."""
    defined = [value for value in values if not math.isnan(value)]
    return float(np.mean(defined)) if defined else math.nan


def write_cases(path, rows):
    """Write the rows of `evaluate` as CSV."""
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
