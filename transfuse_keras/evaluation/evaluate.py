"""Scoring a model on samples at their native size."""

import sys
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from rich.progress import track

from transfuse_keras.data.resize import IGNORED
from transfuse_keras.evaluation.cases import SUBGROUP
from transfuse_keras.evaluation.protocols import OVERLAP, PROTOCOLS
from transfuse_keras.inference.masks import clean_up, to_masks
from transfuse_keras.inference.predict import average_flips, predict_samples
from transfuse_keras.inference.predictor import as_predictor
from transfuse_keras.metrics import nsd, surface_scores
from transfuse_keras.metrics.calibration import BINS, count_reliability, measure_calibration
from transfuse_keras.metrics.confusion import count_confusion, count_pixels


@dataclass
class Evaluation:
    """Scores of a model on samples.

    Attributes:
        rows: one dict per case and class: "case", "group" (its patient), "subgroup_<name>" for
            every attribute of the samples, then what `score_case` gives.
        others: the same of other masks, by their name: of volumes after each way of `clean_up`, of
            a task with `sure` classes with all components, "uncut"; else empty.
        calibration: class -> {"ece", "bins"}, see `measure_calibration`.
        confusion: `count_confusion` of all cases together; None for a single class, and where the
            classes of a truth overlap.
        true_pixels: the pixels of each row of `confusion`, which adds up to more where predicted
            masks overlap; None where that is.
        seconds: of each prediction, reading and scoring left out.
    """

    rows: list[dict] = field(default_factory=list)
    others: dict[str, list[dict]] = field(default_factory=dict)
    calibration: dict = field(default_factory=dict)
    confusion: list | None = None
    true_pixels: list | None = None
    seconds: list[float] = field(default_factory=list)


def evaluate(predictor, samples, task, thresholds=0.5, flips="", folder=None, visit=None):
    """Predict and score samples.

    Args:
        predictor: TransFuse or Predictor.
        samples: list of Sample.
        task: Task; its `protocols` add their columns.
        thresholds: a probability, or one per class.
        flips: average over mirror images, see `predict`.
        folder: where the predicted masks of volumes are written as NIfTI, or None.
        visit: function of (sample, image, truth, maps, masks) called for each case, or None.

    Returns: Evaluation. Distances are in pixels for all as soon as one spacing is unknown.
    """
    in_mm = all(sample.spacing is not None for sample in samples)
    result = Evaluation()
    attributes = sorted({name for sample in samples for name in sample.attributes})
    histograms = np.zeros((3, len(task.classes), BINS))
    confusion, true_pixels, overlapping = 0, 0, len(task.classes) == 1
    found = predict_samples(predictor, samples, task, flips)
    # for protocols that predict at a size of their own
    mirrored = average_flips(as_predictor(predictor), flips, task.mirrored_classes)
    hidden = not sys.stdout.isatty()
    for sample, image, truth, maps, seconds in track(
        found, "Scoring", len(samples), disable=hidden
    ):
        result.seconds.append(seconds)
        masks = to_masks(maps, thresholds, task.exclusive, task.sure_maps)
        counted = (truth != IGNORED).all(axis=-1)
        histograms += count_reliability(maps[counted], truth[counted])
        overlapping |= bool((truth[counted].sum(axis=-1) > 1).any())
        if not overlapping:
            confusion += count_confusion(truth[counted] > 0, masks[counted] > 0)
            true_pixels += count_pixels(truth[counted] > 0)
        if folder is not None and sample.save is not None:
            sample.save(folder / f"{sample.file_name}.nii.gz", masks)
        if visit is not None:
            visit(sample, image, truth, maps, masks)
        spacing = sample.spacing if in_mm else None
        with_truth = partial(score_case, truth, classes=task.classes, tolerance=task.tolerance)
        scored = rows = with_truth(masks, spacing)
        for protocol in task.protocols:
            scores = PROTOCOLS[protocol][1](mirrored, image, truth, maps, thresholds)
            rows = [{**row, **more} for row, more in zip(rows, scores, strict=True)]
        case = describe_case(sample, attributes)
        result.rows += [case | row for row in rows]
        others = clean_up(masks) if task.field is not None else {}
        if task.sure:
            others["uncut"] = to_masks(maps, thresholds, task.exclusive)
        for name, other in others.items():
            same = np.array_equal(other, masks)
            rows = scored if same else with_truth(other, spacing)
            result.others.setdefault(name, []).extend(case | row for row in rows)
    result.calibration = measure_calibration(histograms, task.classes)
    if not overlapping:
        result.confusion, result.true_pixels = confusion.tolist(), true_pixels.tolist()
    return result


def describe_case(sample, attributes):
    """The columns that tell whose case it is; an attribute that a sample lacks is empty."""
    subgroups = {f"{SUBGROUP}{name}": sample.attributes.get(name, "") for name in attributes}
    return {"case": sample.name, "group": str(sample.group), **subgroups}


def score_case(truth, prediction, spacing, classes, tolerance=None):
    """Scores of one image or volume.

    Args:
        truth, prediction: 0/1 (H, W, M) or (D, H, W, M). Pixels where the truth is IGNORED are
            left out of the overlaps; for the distances both masks are empty there.
        spacing: millimetres per pixel along each axis; None scores distances in pixels.
        classes: names of the M classes.
        tolerance: in mm, of the score "nsd", which a case without `spacing` does not have; or None.

    Returns: one dict per class: "class", "truth_empty", "prediction_empty"; "truth_size" and
    "prediction_size": area or volume of the masks, and "diagonal" of the image, in the unit of the
    distances; the OVERLAP scores and the distances hd, hd95, asd and assd with the unit in their
    name, such as "hd_mm".
    """
    unit = "px" if spacing is None else "mm"
    sides = np.ones(truth.ndim - 1) if spacing is None else np.asarray(spacing)
    diagonal = float(np.linalg.norm(sides * truth.shape[:-1]))
    counted = (truth != IGNORED).all(axis=-1)
    whole = counted.all()
    rows = []
    for i, name in enumerate(classes):
        masks = truth[..., i] == 1, prediction[..., i].astype(bool) & counted
        distances = surface_scores(*masks, spacing)
        within = {}
        if tolerance is not None and spacing is not None:
            within["nsd"] = nsd(*masks, tolerance, spacing)
        if not whole:
            masks = tuple(mask[counted] for mask in masks)
        rows.append(
            {
                "class": name,
                "truth_empty": not masks[0].any(),
                "prediction_empty": not masks[1].any(),
                "truth_size": float(masks[0].sum() * sides.prod()),
                "prediction_size": float(masks[1].sum() * sides.prod()),
                "diagonal": diagonal,
                **{metric: function(*masks) for metric, function in OVERLAP.items()},
                **within,
                **{f"{metric}_{unit}": distance for metric, distance in distances.items()},
            }
        )
    return rows
