"""Scoring a model on samples at their native size."""

import sys
import time
from dataclasses import dataclass, field

import keras
import numpy as np

from transfuse_keras.data.resize import resize_image, resize_masks
from transfuse_keras.errors import blaming
from transfuse_keras.files import read_table
from transfuse_keras.inference.predict import largest_component, predict, predict_sample, to_masks
from transfuse_keras.metrics import (
    dice,
    iou,
    pixel_accuracy,
    pranet_scores,
    precision,
    recall,
    saliency_scores,
    surface_scores,
)

OVERLAP = {
    "dice": dice,
    "iou": iou,
    "accuracy": pixel_accuracy,
    "precision": precision,
    "recall": recall,
}
PROTOCOL = (
    "per {what} and class at native size, threshold {thresholds}; a class scores the mean over "
    "the {what}s whose truth is not empty; surface distances in {unit}, undefined where either "
    "mask is empty"
)
BINS = 15  # of the reliability curve
ISIC_SIZE = (192, 256)


@dataclass
class Evaluation:
    """Scores of a model on samples.

    Attributes:
        rows: one dict per case and class: "case", "class", "truth_empty", "prediction_empty",
            then the scores.
        cleaned: the same after `largest_component`, for volumes; else empty.
        calibration: class -> {"ece", "bins"}, see `calibration_of`.
        seconds: of each prediction, reading and scoring left out.
    """

    rows: list[dict] = field(default_factory=list)
    cleaned: list[dict] = field(default_factory=list)
    calibration: dict = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)


def evaluate(predictor, samples, task, thresholds=0.5, flips="", folder=None):
    """Predict and score samples.

    Args:
        predictor: TransFuse or Predictor.
        samples: list of Sample.
        task: Task; its `protocols` add their columns.
        thresholds: a probability, or one per class.
        flips: average over mirror images, see `predict`.
        folder: where the predicted masks of volumes are written as NIfTI, or None.

    Returns: Evaluation. Distances are in pixels for all as soon as one spacing is unknown.
    """
    verbose = 1 if sys.stdout.isatty() else 2
    progress = keras.utils.Progbar(len(samples), unit_name="case", verbose=verbose)
    in_mm = all(sample.spacing is not None for sample in samples)
    result = Evaluation()
    histograms = np.zeros((3, len(task.classes), BINS))
    for sample in samples:
        image, truth = sample.read()
        start = time.perf_counter()
        maps = predict_sample(predictor, sample, image, task, flips)
        masks = to_masks(maps, thresholds, task.exclusive)
        result.seconds.append(time.perf_counter() - start)
        histograms += reliability(maps, truth)
        if folder is not None and sample.save is not None:
            sample.save(folder / f"{sample.file_name}.nii.gz", masks)
        spacing = sample.spacing if in_mm else None
        rows = score_case(truth, masks, spacing, task.classes)
        for protocol in task.protocols:
            scores = PROTOCOLS[protocol][1](predictor, image, truth, maps, thresholds)
            rows = [{**row, **more} for row, more in zip(rows, scores, strict=True)]
        result.rows += [{"case": sample.name, **row} for row in rows]
        if task.field is not None:
            cleaned = score_case(truth, largest_component(masks), spacing, task.classes)
            result.cleaned += [{"case": sample.name, **row} for row in cleaned]
        progress.add(1)
    result.calibration = calibration_of(histograms, task.classes)
    return result


def score_case(truth, prediction, spacing, classes):
    """Scores of one image or volume.

    Args:
        truth, prediction: 0/1 (H, W, M) or (D, H, W, M).
        spacing: millimetres per pixel along each axis; None scores distances in pixels.
        classes: names of the M classes.

    Returns: one dict per class: "class", "truth_empty", "prediction_empty", the OVERLAP scores
    and the distances hd, hd95, asd and assd with the unit in their name, such as "hd_mm".
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


def score_like_pranet(predictor, image, truth, maps, thresholds):
    """Columns of the PraNet protocol, one dict per class."""
    rows = []
    for i in range(truth.shape[-1]):
        mask = truth[..., i].astype(bool)
        scores = pranet_scores(mask, maps[..., i])
        rows.append(
            {
                "pranet_dice": scores["dice"],
                "pranet_iou": scores["iou"],
                **saliency_scores(mask, maps[..., i]),
            }
        )
    return rows


def score_like_isic(predictor, image, truth, maps, thresholds):
    """Columns of the ISIC protocol at 192x256, one dict per class."""
    small = to_masks(predict(predictor, resize_image(image, ISIC_SIZE)), thresholds)
    masks = resize_masks(truth, ISIC_SIZE)
    return [
        {
            f"{metric}_192x256": OVERLAP[metric](masks[..., i] > 0, small[..., i] > 0)
            for metric in ("iou", "dice", "accuracy")
        }
        for i in range(truth.shape[-1])
    ]


# name -> (what it adds to the text of the protocol, function)
PROTOCOLS = {
    "pranet": (
        "pranet_dice and pranet_iou as PraNet scores them: probabilities scaled from their "
        "smallest to their largest by image, mean over 256 thresholds, 0 where nothing overlaps; "
        "S-measure, weighted F, E-measure and MAE by PySODMetrics",
        score_like_pranet,
    ),
    "isic": ("columns named 192x256 with image and truth at that size", score_like_isic),
}


def describe_protocol(task, thresholds, unit, flips):
    """What the scores of an evaluation mean, in words."""
    text = PROTOCOL.format(
        what="image" if task.field is None else "volume",
        thresholds=", ".join(f"{name} {value:g}" for name, value in thresholds.items())
        if len(set(thresholds.values())) > 1
        else f"{next(iter(thresholds.values())):g}",
        unit="mm" if unit == "mm" else "pixels",
    )
    mirrored = [f"mean over mirror images ({', '.join(flips)})"] if flips else []
    return "; ".join([text, *(PROTOCOLS[name][0] for name in task.protocols), *mirrored])


def reliability(maps, truth):
    """Histograms (3, M, BINS) over the probabilities: pixels, sum of probabilities, true pixels."""
    classes = maps.shape[-1]
    index = np.minimum((maps * BINS).astype("int64"), BINS - 1) + BINS * np.arange(classes)
    index = index.ravel()
    return np.stack(
        [
            np.bincount(index, weights, classes * BINS).reshape(classes, BINS)
            for weights in (None, maps.ravel(), truth.ravel())
        ]
    )


def calibration_of(histograms, classes):
    """Reliability curve and expected calibration error of each class.

    Args:
        histograms: sum of `reliability` over cases.
        classes: names of the M classes.

    Returns: class -> {"ece": mean |confidence - frequency| over the pixels, "bins": [{"confidence":
    mean probability, "frequency": share of true pixels, "count"}] of those that hold pixels}.
    """
    calibration = {}
    for i, name in enumerate(classes):
        count, confidence, frequency = histograms[:, i]
        filled = count > 0
        confidence, frequency = (
            confidence[filled] / count[filled],
            frequency[filled] / count[filled],
        )
        gaps = np.abs(confidence - frequency)
        calibration[name] = {
            "ece": float((gaps * count[filled]).sum() / count.sum()),
            "bins": [
                {"confidence": float(c), "frequency": float(f), "count": int(n)}
                for c, f, n in zip(confidence, frequency, count[filled], strict=True)
            ],
        }
    return calibration


def choose_thresholds(predictor, samples, task, flips=""):
    """The threshold of each class with the best mean Dice on (validation) samples.

    Args: as `evaluate`.

    Returns: class -> one of 0.05, 0.1, ..., 0.95; 0.5 for a class that no sample shows, and
    where several are equally good the one closest to 0.5.
    """
    grid = np.round(np.arange(0.05, 1, 0.05), 2)
    scores = [[] for _ in task.classes]
    for sample in samples:
        image, truth = sample.read()
        maps = predict_sample(predictor, sample, image, task, flips)
        best = maps.argmax(axis=-1)
        for i in range(len(task.classes)):
            mask = truth[..., i].astype(bool)
            if mask.any():
                candidates = (
                    np.where(best == i, maps[..., i], -1) if task.exclusive else maps[..., i]
                )
                scores[i].append([dice(mask, candidates >= threshold) for threshold in grid])
    chosen = {}
    for name, values in zip(task.classes, scores, strict=True):
        means = np.mean(values, axis=0) if values else np.ones_like(grid)
        ties = grid[means >= means.max() - 1e-9]
        chosen[name] = float(ties[np.abs(ties - 0.5).argmin()])
    return chosen


def read_cases(path):
    """Rows of a cases.csv as `evaluate` gave them. InputError if it is damaged."""
    flag = {"True": True, "False": False}.__getitem__
    kinds = {"case": str, "class": str, "truth_empty": flag, "prediction_empty": flag}
    remedy = "score the model again"
    with blaming(path, "damaged", remedy):
        rows = [
            {key: kinds.get(key, float)(value) for key, value in row.items()}
            for row in read_table(path, remedy)
        ]
        pairs = {(row["case"], row["class"]): row.keys() >= kinds.keys() for row in rows}
        cases, classes = ({pair[i] for pair in pairs} for i in (0, 1))
        if not rows or not all(pairs.values()) or len(pairs) != len(cases) * len(classes):
            raise ValueError("it lacks cases or columns")
    return rows
