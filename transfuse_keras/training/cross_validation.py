"""Cross-validation: every case is scored by a model that has not seen it."""

import shutil
from pathlib import Path

import numpy as np

from transfuse_keras.errors import blaming
from transfuse_keras.evaluation.evaluate import read_cases
from transfuse_keras.evaluation.report import write_report
from transfuse_keras.evaluation.report_files import read_metrics
from transfuse_keras.evaluation.results import WORST
from transfuse_keras.evaluation.statistics import summarize
from transfuse_keras.files import read_json, replacing, write_json, write_table
from transfuse_keras.metrics.calibration import BINS, measure_calibration
from transfuse_keras.runs.settings import FOLDS_FILE
from transfuse_keras.training.series import begin_series, train_series


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
        {run: f"Fold {k + 1} of {folds}" for k, run in enumerate(runs)},
        lambda run, begun: train(run, (runs.index(run), folds), begun),
    )
    metrics = pool(folder, runs)
    write_report(folder, metrics)
    write_json(folder / "metrics.json", metrics)


def pool(folder, runs):
    """Scores of all folds together.

    Volumes are cleaned to the largest component of every class if that raises the mean Dice over
    the classes and lowers that of none (nnU-Net's rule); the choice is in postprocessing.json.

    Writes: cases.csv and overlays/. Returns: the content of metrics.json.
    """
    folds = [read_metrics(run / "metrics.json") for run in runs]
    rows = [row for run in runs for row in read_cases(run / "cases.csv")]
    if (runs[0] / "cases-cleaned.csv").is_file():
        cleaned = [row for run in runs for row in read_cases(run / "cases-cleaned.csv")]
        clean = cleaning_helps(summarize(rows), summarize(cleaned))
        write_json(folder / "postprocessing.json", {"largest_component": clean})
        rows = cleaned if clean else rows
    write_table(folder / "cases.csv", rows)
    pool_overlays(folder / "overlays", [run / "overlays" for run in runs])
    kept = ("task", "data", "variant", "protocol", "thresholds", "paper")
    shown = [{"fold": k, "n": fold["n"], "mean": fold["mean"]} for k, fold in enumerate(folds)]
    return {
        **{key: folds[0][key] for key in kept},
        **summarize(rows),
        "protocol": f"{len(runs)}-fold cross-validation, cases of all folds pooled; "
        + folds[0]["protocol"],
        "folds": shown,
        "calibration": pool_calibration([fold["calibration"] for fold in folds]),
        "seconds_per_case": float(np.median([fold["seconds_per_case"] for fold in folds])),
    }


def cleaning_helps(before, after):
    """Whether the mean Dice rises and that of no class falls."""
    dice = [
        [scores["dice"] for scores in summary["classes"].values()] for summary in (before, after)
    ]
    risen = np.subtract(dice[1], dice[0])
    return bool(np.nanmean(risen) > 0 and not (risen < 0).any())


def pool_calibration(parts):
    """Reliability curves of several folds as one."""
    histograms = np.zeros((3, len(parts[0]), BINS))
    for part in parts:
        for i, name in enumerate(parts[0]):
            for found in part[name]["bins"]:
                index = min(int(found["confidence"] * BINS), BINS - 1)
                shares = np.array([1, found["confidence"], found["frequency"]])
                histograms[:, i, index] += found["count"] * shares
    return measure_calibration(histograms, list(parts[0]))


def pool_overlays(folder, parts):
    """The best, the median of the medians and the worst of the folds' pictures."""
    entries = []
    for part in parts:
        index = part / "index.json"
        with blaming(index, "missing or damaged", "score that fold again"):
            entries += [{**entry, "path": part / entry["file"]} for entry in read_json(index)]
    by_rank = {
        rank: sorted((x for x in entries if x["rank"] == rank), key=lambda x: x["score"])
        for rank in ("best", "median", "worst")
    }
    medians = by_rank["median"]
    chosen = [by_rank["best"][-1], medians[len(medians) // 2], *by_rank["worst"][:WORST]]
    with replacing(folder) as temporary:
        temporary.mkdir()
        index = []
        for number, entry in enumerate(chosen):
            path = Path(entry.pop("path"))
            entry["file"] = f"{number:02}{path.name[2:]}"
            shutil.copyfile(path, temporary / entry["file"])
            index.append(entry)
        write_json(temporary / "index.json", index)
