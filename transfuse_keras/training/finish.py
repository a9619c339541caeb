"""The end of a run: scores, exported models, report."""

import logging
from dataclasses import replace
from pathlib import Path

from transfuse_keras.errors import quantity
from transfuse_keras.evaluation.report import write_report
from transfuse_keras.evaluation.results import score_samples, write_sure, write_thresholds
from transfuse_keras.evaluation.trust import fit_trust
from transfuse_keras.evaluation.validation import (
    GRID,
    choose_sure,
    choose_thresholds,
    count_validation,
    describe_thresholds,
)
from transfuse_keras.export.budgets import OF_RUNS, OverBudget
from transfuse_keras.export.formats import FORMATS
from transfuse_keras.export.verification import export_verified, predict_held_out
from transfuse_keras.files import write_json
from transfuse_keras.runs.metadata import ModelFacts
from transfuse_keras.runs.trust import write_trust
from transfuse_keras.tasks.plan import JUDGES
from transfuse_keras.versions import backend

log = logging.getLogger(__name__)


def write_results(run, model, task, splits, data, threshold=None, export=True, report=True):
    """Score, draw, export and report a trained model.

    Args:
        run: Path of the run folder.
        model: TransFuse with its best weights.
        task: Task.
        splits: {"train", "val", "test"} -> list of Sample; the test samples are scored.
        data: what they are, for the report: a folder, or "phantom".
        threshold: a probability, "auto" for the best on the validation samples of each class that
            JUDGES of them show, else 0.5; None for 0.5.
        export: whether to write the files of `exported_files`, a .json beside each, and
            export.json.
        report: whether to write report.html.

    Writes: threshold.json where a threshold was given, trust.json and, for images,
    components.json if there are validation samples, what `score_samples` writes, the above and,
    last, metrics.json, which marks the run complete.

    Raises: OverBudget, at the very end, if an exported model is not the same as the Keras model.
    """
    given = 0.5 if threshold in (None, "auto") else threshold
    grid = GRID if threshold == "auto" else (given,)
    thresholds, trust = dict.fromkeys(task.classes, given), None
    if splits["val"]:
        what = "Choosing thresholds and fitting" if threshold == "auto" else "Fitting"
        cases = quantity(len(splits["val"]), "validation case")
        log.info(f"{what} temperature and predicted Dice on {cases}")
        validation = count_validation(model, splits["val"], task, grid, task.flips)
        task = replace(task, sure=choose_sure(validation, task))
        write_sure(run, task, validation)
        thresholds = choose_thresholds(validation, task.sure, JUDGES)
        if threshold == "auto":
            log.info(describe_thresholds(thresholds, validation))
        trust = fit_trust(validation, splits["train"], thresholds, task.sure)
        write_trust(run, trust)
    if threshold is not None:
        write_thresholds(run, thresholds, threshold)
    metrics = {
        **{"task": task.name, "data": data, "variant": model.variant},
        **score_samples(run, model, task, splits["test"], thresholds, task.flips, trust),
    }
    failure = export_results(run, model, task, splits, data, metrics, trust) if export else None
    if report:
        write_report(run, metrics)
    write_json(run / "metrics.json", metrics)
    if failure:
        raise failure


def exported_files():
    """{format: the file that every run gets by this backend}."""
    return {name: FORMATS[name][1] for name in OF_RUNS[backend()]}


def export_results(run, model, task, splits, data, metrics, trust=None):
    """Write the formats that every run gets. Returns: the last OverBudget, None if all are right"""
    log.info(f"Exporting {' and '.join(exported_files().values())}")
    against, spacing = predict_held_out(model, task, splits["test"])
    scores = {key: metrics[key] for key in ("n", "mean", "protocol")}
    thresholds, model_file = metrics["thresholds"], run / "model.keras"
    data = Path(data).name
    origin = ModelFacts(task, thresholds, data, spacing, scores, model_file, trust=trust)
    failure = None
    for name, file in exported_files().items():
        try:
            export_verified(model, run / file, name, "none", against, origin)
        except OverBudget as error:  # neither the scores nor the other are lost with it
            failure = error
    return failure
