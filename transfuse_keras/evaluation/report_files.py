"""The files that a report shows, read and checked: what draws them can then rely on their form."""

import math
import re
from pathlib import Path

import numpy as np

from transfuse_keras.errors import EXPORT_AGAIN, SCORE_AGAIN, InputError, blaming
from transfuse_keras.files import read_json, read_table, settle

EXPORT_FIGURES = ("largest_difference", "mask_dice", "dice", "keras_dice")
STATISTICS = ("n", "std", "median", "low", "high")
FLAGS = ("True", "False")
PATH = re.compile("[Mlz0-9 -]+")  # of an SVG
SIZES = ("truth_size", "prediction_size")


def read_metrics(path):
    """The content of metrics.json, with all that a report cannot do without.

    Raises: InputError if it is missing or damaged.
    """
    metrics = read_json(path, SCORE_AGAIN)
    if metrics is None:
        raise InputError(f"{path}: no such file; only a run that was scored has a report.")
    needed = {"task", "data", "protocol", "variant", "n", "mean", "classes"}
    whole = isinstance(metrics, dict) and needed <= metrics.keys()
    parts = ("mean", "classes", "thresholds")
    if not whole or not all(isinstance(metrics.get(key, {}), dict) for key in parts):
        raise InputError(f"{path}: not the scores of a run; {SCORE_AGAIN}.")
    with blaming(path, "damaged", SCORE_AGAIN):
        check_metrics(metrics)
    return metrics


def check_metrics(metrics):
    """Raise an exception if a part of metrics.json has another form than a report expects."""
    names = list(metrics["mean"])
    sets, folds = metrics.get("sets") or {}, metrics.get("folds") or []
    paper = metrics.get("paper") or {}
    statistics = [
        statistic or {}
        for of_class in (metrics.get("statistics") or {}).values()
        for statistic in of_class.values()
    ]
    for figures in (
        *({"n": metrics["n"], "seconds": metrics.get("seconds_per_case")}, metrics["mean"]),
        *({name: of.get(name) for name in (*names, "n")} for of in metrics["classes"].values()),
        *({name: of.get(name) for name in STATISTICS} for of in statistics),
        *({"n": part["n"], **part["mean"]} for part in sets.values()),
        *({"fold": part["fold"], "n": part["n"], **part["mean"]} for part in folds),
        *(x for of in paper.values() for x in of.values() if isinstance(x, dict)),
    ):
        check_numbers(figures)
    confusion, count = metrics.get("confusion"), 1 + len(metrics["classes"])
    if confusion and np.array(confusion, "float64").shape != (count, count):
        raise ValueError("confusion has not a row and a column for each class")
    true_pixels = metrics.get("true_pixels")
    if confusion and true_pixels and np.array(true_pixels, "float64").shape != (count,):
        raise ValueError("true_pixels has not a number for each class")
    for of_class in (metrics.get("calibration") or {}).values():
        check_numbers({"ece": of_class["ece"]})
        for part in of_class["bins"]:
            if not 0 <= part["count"] < math.inf:
                raise ValueError(f"a bin holds {part['count']} pixels")
            if part["count"] and not all(0 <= part[x] <= 1 for x in ("confidence", "frequency")):
                raise ValueError(f"{part} is no bin of probabilities")
    trust = metrics.get("trust") or {}
    for name, quality in (trust.get("quality") or {}).items():
        check_numbers(quality)
        check_numbers({x: trust[x][name] for x in ("temperature", "ece")})
    for phrases in (trust.get("unlike_training") or {}).values():
        "; ".join(phrases)


def check_numbers(figures):
    """Raise an exception unless these are {name: number or None}."""
    for name, value in figures.items():
        if not name or isinstance(value, str):
            raise ValueError(f"{name!r} is {value!r}, not a number")
        float(0 if value is None else value)


def read_exports(path):
    """The content of export.json: name -> what was verified; empty if there is no file."""
    exports = read_json(path, EXPORT_AGAIN) or {}
    with blaming(path, "damaged", EXPORT_AGAIN):
        for row in exports.values():
            check_numbers({name: row.get(name) for name in EXPORT_FIGURES})
    return exports


def read_case_rows(path, names):
    """Rows of cases.csv as dicts of strings; none if there is no file.

    Args:
        path: Path of the file.
        names: of the metrics: their columns hold numbers.
    """
    rows = read_table(path, SCORE_AGAIN) if path.is_file() else []
    with blaming(path, "damaged", SCORE_AGAIN):
        for row in rows:
            if not (row["case"] and row["class"]):
                raise ValueError("a row has no case or no class")
            if not (row["truth_empty"] in FLAGS and row["prediction_empty"] in FLAGS):
                raise ValueError(f"of {row['case']} it is not known if a mask is empty")
            if any(math.isinf(read_number(row.get(name))) for name in (*names, "dice", *SIZES)):
                raise ValueError(f"a score of {row['case']} is infinite")
    return rows


def read_history_rows(path):
    """Rows of history.csv as dicts of strings; none if there is no file."""
    rows = read_table(path, SCORE_AGAIN) if path.is_file() else []
    with blaming(path, "damaged", SCORE_AGAIN):
        if [row["epoch"] for row in rows] != [str(epoch) for epoch in range(1, len(rows) + 1)]:
            raise ValueError("the epochs are not 1, 2, ...")
        for name in rows[0] if rows else ():
            if not any(math.isfinite(read_number(row[name])) for row in rows):
                raise ValueError(f"{name} has no value")
    return rows


def read_pictures(folder):
    """The pictures of all cases that `write_picture` wrote, those of all folds in their turn.

    Args:
        folder: Path of a run, of an evaluation or of a cross-validation.

    Returns: case -> {"path": of a WebP, "size", "truth", "prediction"}; empty for what an earlier
    release scored.
    """
    pictures = {}
    for part in (folder, *sorted(folder.glob("fold-*"))):
        path = settle(part / "pictures") / "index.json"
        entries = read_json(path, SCORE_AGAIN) or []
        with blaming(path, "damaged", SCORE_AGAIN):
            for entry in entries:
                width, height = map(int, entry["size"])
                paths = [*entry["truth"].values(), *entry["prediction"].values()]
                if min(width, height) < 1 or not all(map(PATH.fullmatch, paths)):
                    raise ValueError(f"{entry['case']} has no outlines on a grid")
                file = path.parent / Path(entry["file"]).name
                pictures[str(entry["case"])] = {**entry, "path": file}
    return pictures


def read_facts(path):
    """The content of config.json, as far as a report shows it; empty if there is no file."""
    config = read_json(path, SCORE_AGAIN) or {}
    with blaming(path, "damaged", SCORE_AGAIN):
        recipe = config.get("recipe") or {}
        if "image_size" in recipe:
            height, width = recipe["image_size"]
        task = config.get("task") or {}
        if task.get("value_range"):
            low, high = map(float, task["value_range"])
        for part in (config.get("versions"), task.get("augmentation"), recipe):
            (part or {}).items()
        " ".join(config.get("split") or ())
    return config


def read_number(text):
    """A number of a CSV file; nan for an empty cell."""
    return float(text) if text else math.nan
