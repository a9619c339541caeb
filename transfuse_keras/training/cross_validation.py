"""Cross-validation: every case is scored by a model that has not seen it."""

import logging
from collections import Counter

import numpy as np

from transfuse_keras.errors import InputError, blaming, quantity
from transfuse_keras.evaluation.cases import read_cases, share_columns
from transfuse_keras.evaluation.pooling import (
    COUNTS,
    pool_counts,
    pool_overlays,
    pool_quality,
    read_all_cases,
)
from transfuse_keras.evaluation.protocols import pool_protocols
from transfuse_keras.evaluation.report import write_report
from transfuse_keras.evaluation.report_files import read_metrics
from transfuse_keras.evaluation.statistics import mean, summarize
from transfuse_keras.evaluation.subgroups import summarize_subgroups
from transfuse_keras.files import write_json, write_table
from transfuse_keras.metrics.calibration import pool_calibration
from transfuse_keras.runs.members import CLEANUP_FILE
from transfuse_keras.runs.settings import FOLDS_FILE
from transfuse_keras.training.series import begin_series, train_series

log = logging.getLogger(__name__)

UNCUT = "cases-uncut.csv"  # the scores with all components, of a fold that keeps sure ones alone


def cross_validate(train, settings, folder, folds, resume=False):
    """Train and score every fold, then pool the scores.

    Args:
        train: function of (out, fold, resume) that trains a fold into a run folder, or goes on
            with it.
        settings: plain data that tells the runs apart: only equal settings are resumed.
        folder: Path; gets fold-0/, fold-1/, ... and the pooled tables and report.
        folds: number of folds.
        resume: go on in `folder`: finished folds are kept, one that was begun goes on.

    Raises: InputError if `folder` holds anything else.
    """
    begin_series(folder, FOLDS_FILE, settings, resume)
    runs = [folder / f"fold-{k}" for k in range(folds)]
    train_series(
        folder,
        {run: f"Fold {k} (of 0 to {folds - 1})" for k, run in enumerate(runs)},
        lambda run, begun: train(run, (runs.index(run), folds), begun),
    )
    metrics = pool(folder, runs)
    write_report(folder, metrics)
    write_json(folder / "metrics.json", metrics)


def pool(folder, runs):
    """Scores of all folds together.

    Volumes are cleaned up by nnU-Net's rule. First all classes together are cut to their largest
    component, if that raises the mean Dice over all cases and lowers that of no class. Then so is
    each class that gains by it. What was done is in postprocessing.json.

    Writes: cases.csv, overlays/, if a fold keeps sure components alone cases-uncut.csv, and if all
    have a Trust quality.csv, of masks that are not cleaned up.

    Returns: the content of metrics.json; "thresholds" holds those of all folds only where they are
    the same, each fold's stand with the fold.

    Raises: InputError if a case was tested in two folds.
    """
    folds = [read_metrics(run / "metrics.json") for run in runs]
    rows = read_all_cases(runs, "cases.csv")
    refuse_shared_cases(folder, rows)
    if (runs[0] / "cases-cleaned.csv").is_file():
        cleaned, cut = read_all_cases(runs, "cases-cleaned.csv"), False
        if all((run / "cases-region.csv").is_file() for run in runs):
            region = read_all_cases(runs, "cases-region.csv")
            cut = improves_all(average_class_dice(rows), average_class_dice(region))
            if cut:
                rows, cleaned = region, read_all_cases(runs, "cases-region-cleaned.csv")
        before, after = average_class_dice(rows), average_class_dice(cleaned)
        chosen = {name: after[name] > before[name] for name in before}
        content = {"largest_region": cut, "largest_component": chosen}
        write_json(folder / CLEANUP_FILE, content)
        pairs = zip(rows, cleaned, strict=True)
        rows = [after if chosen[after["class"]] else before for before, after in pairs]
    write_table(folder / "cases.csv", rows)
    if any((run / UNCUT).is_file() for run in runs):
        write_table(folder / UNCUT, read_uncut(runs))
    pool_overlays(folder / "overlays", [run / "overlays" for run in runs])
    kept = [x for x in ("task", "data", "variant", "paper", "scored", "size_unit") if x in folds[0]]
    parts = [{key: fold[key] for key in ("n", "mean", "thresholds")} for fold in folds]
    same = all(part["thresholds"] == parts[0]["thresholds"] for part in parts)
    with blaming(runs[0] / "metrics.json", "has no histogram of calibration", "score all folds"):
        calibration = pool_calibration([fold["calibration"] for fold in folds])
    return {
        **{key: folds[0][key] for key in kept},
        **summarize(rows),
        "protocol": f"{len(runs)}-fold cross-validation, cases of all folds pooled; "
        + pool_protocols(folds),
        **({"thresholds": parts[0]["thresholds"]} if same else {}),
        "folds": [{"fold": number, **part} for number, part in enumerate(parts)],
        "calibration": calibration,
        **{key: pool_counts([fold.get(key) for fold in folds]) for key in COUNTS},
        "subgroups": summarize_subgroups(rows),
        "seconds_per_case": float(np.median([fold["seconds_per_case"] for fold in folds])),
        **pool_quality(folder, runs, folds),
    }


def read_uncut(runs):
    """The rows of all folds with all components, with the columns that all have."""
    tables = [run / (UNCUT if (run / UNCUT).is_file() else "cases.csv") for run in runs]
    return share_columns([row for table in tables for row in read_cases(table)])[0]


def refuse_shared_cases(folder, rows):
    """Raise InputError if rows of several folds tell of a case twice."""
    found = Counter((row["case"], row["class"]) for row in rows)
    shared = sorted({case for (case, _), count in found.items() if count > 1})
    if shared:
        raise InputError(
            f"{folder}: {quantity(len(shared), 'case')}, such as {shared[0]}, in more than one "
            "fold; the data or the version of scikit-learn has changed between them, so train all "
            "folds in a new folder."
        )


def average_class_dice(rows):
    """Class -> mean Dice, as nnU-Net takes it: without the cases where both masks are empty."""
    scores = {row["class"]: [] for row in rows}
    for row in rows:
        if not (row["truth_empty"] and row["prediction_empty"]):
            scores[row["class"]].append(row["dice"])
    return {name: mean(found) for name, found in scores.items()}


def improves_all(before, after):
    """Whether the mean over the classes rises, and that of no class falls."""
    worse = any(after[name] < before[name] for name in before)
    return mean(list(after.values())) > mean(list(before.values())) and not worse
