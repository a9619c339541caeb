"""What a finished training or an evaluation leaves: scores, pictures, exported models, report."""

from pathlib import Path

import cv2
import numpy as np

from transfuse_keras.data.resize import resize_image, resize_masks
from transfuse_keras.evaluation.evaluate import choose_thresholds, describe_protocol, evaluate
from transfuse_keras.evaluation.report import write_report
from transfuse_keras.evaluation.statistics import summarize
from transfuse_keras.export.verification import OverBudget, export_verified, held_out_of
from transfuse_keras.files import replacing, write_json, write_table
from transfuse_keras.inference.predict import overlay, predict_sample, to_masks
from transfuse_keras.runs.sidecar import Origin, update_thresholds

WORST = 10  # cases shown besides the best and the median one
PICTURE_SIDE = 384  # small images are enlarged to this, so that outlines stay thin


def write_results(run, model, task, splits, data, threshold=None):
    """Score, draw, export and report a trained model.

    Args:
        run: Path of the run folder.
        model: TransFuse with its best weights.
        task: Task.
        splits: {"val", "test"} -> list of Sample; the test samples are scored.
        data: what they are, for the report: a folder, or "phantom".
        threshold: a probability, "auto" for the best on the validation samples, None for 0.5.

    Writes: threshold.json where a threshold was given, what `score` writes, saved_model/,
    model.tflite, a .json beside both, export.json, report.html and, last, metrics.json, which
    marks the run complete.

    Raises: OverBudget, at the very end, if an exported model is not the same as the Keras model.
    """
    thresholds = dict.fromkeys(task.classes, 0.5 if threshold in (None, "auto") else threshold)
    if threshold == "auto":
        print(f"Choosing thresholds on {len(splits['val'])} validation cases")
        thresholds = choose_thresholds(model, splits["val"], task, task.flips)
    if threshold is not None:
        write_thresholds(run, thresholds, threshold)
    metrics = {
        **{"task": task.name, "data": data, "variant": model.variant},
        **score(run, model, task, splits["test"], thresholds, task.flips),
    }

    print("Exporting saved_model and model.tflite")
    against, spacing = held_out_of(model, task, splits["test"])
    scores = {key: metrics[key] for key in ("n", "mean", "protocol")}
    origin = Origin(task, thresholds, Path(data).name, spacing, scores)
    failure = None
    for name, file in (("saved_model", "saved_model"), ("litert", "model.tflite")):
        try:
            export_verified(model, run / file, name, "none", against, origin)
        except OverBudget as error:  # neither the scores nor the other are lost with it
            failure = error
    write_report(run, metrics)
    write_json(run / "metrics.json", metrics)
    if failure:
        raise failure


def write_thresholds(run, thresholds, chosen):
    """Keep the thresholds with the run: whatever uses its model uses them."""
    how = "best Dice on the validation split" if chosen == "auto" else "given"
    write_json(run / "threshold.json", {"thresholds": thresholds, "chosen": how})
    update_thresholds(run, thresholds)


def score(folder, predictor, task, samples, thresholds, flips=""):
    """Score samples and leave tables and pictures.

    Args:
        folder: Path of an existing folder.
        predictor: TransFuse or Predictor.
        task: Task.
        samples: list of Sample.
        thresholds: class -> probability.
        flips: average over mirror images, see `predict`.

    Writes: cases.csv, of volumes cases-cleaned.csv and predictions/, and overlays/.

    Returns: what metrics.json says of the scores: `summarize`, "protocol", "thresholds",
    "calibration", "paper", "seconds_per_case" and, if the samples are of several test sets,
    "sets": name -> its own "n", "mean" and "classes".
    """
    print(f"Scoring {len(samples)} test cases")
    if any(sample.save for sample in samples):
        (folder / "predictions").mkdir(exist_ok=True)
    values = tuple(thresholds.values())
    result = evaluate(predictor, samples, task, values, flips, folder / "predictions")
    write_table(folder / "cases.csv", result.rows)
    if result.cleaned:
        write_table(folder / "cases-cleaned.csv", result.cleaned)
    write_overlays(folder / "overlays", predictor, task, samples, result.rows, values, flips)
    summary = summarize(result.rows)
    return {
        **summary,
        "protocol": describe_protocol(task, thresholds, summary["unit"], flips),
        "thresholds": thresholds,
        "calibration": result.calibration,
        "paper": task.paper,
        # the first case pays for compiling
        "seconds_per_case": float(np.median(result.seconds[1:] or result.seconds)),
        **summarize_sets(result.rows),
    }


def summarize_sets(rows):
    """{"sets": ...} of cases whose names begin with different folders, else {}."""
    sets = {}
    for row in rows:
        sets.setdefault(row["case"].rpartition("/")[0], []).append(row)
    if len(sets) < 2:
        return {}
    parts = {name: summarize(part) for name, part in sets.items()}
    kept = ("n", "mean", "classes")
    return {"sets": {name: {key: part[key] for key in kept} for name, part in parts.items()}}


def write_overlays(folder, predictor, task, samples, rows, thresholds, flips):
    """Draw the best, the median and the worst cases by Dice.

    The Dice of a case is the mean over the classes that it shows, or over all if it shows none.

    Writes: PNG files and index.json, a list of {"file", "case", "score", "rank"}.
    """
    scores = {}
    for sample in samples:
        case = [row for row in rows if row["case"] == sample.name]
        shown = [row for row in case if not row["truth_empty"]]
        scores[sample.name] = float(np.mean([row["dice"] for row in shown or case]))
    ranked = sorted(samples, key=lambda sample: scores[sample.name])
    chosen = [("best", ranked[-1]), ("median", ranked[len(ranked) // 2])]
    chosen += [("worst", sample) for sample in ranked[:WORST]]
    index = []
    with replacing(folder) as temporary:
        temporary.mkdir()
        for number, (rank, sample) in enumerate(chosen):
            image, truth = sample.read()
            maps = predict_sample(predictor, sample, image, task, flips)
            masks = to_masks(maps, thresholds, task.exclusive)
            name = f"{number:02}_{rank}_{sample.file_name}.png"
            picture = overlay(*enlarge(*visible(image, masks, truth)))
            cv2.imwrite(str(temporary / name), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            entry = {"file": name, "case": sample.name, "score": scores[sample.name]}
            index.append({**entry, "rank": rank})
        write_json(temporary / "index.json", index)


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
