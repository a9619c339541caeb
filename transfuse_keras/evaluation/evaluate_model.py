"""Scoring a trained model of any format on any folder of labelled images."""

import logging
from collections import defaultdict
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.layouts.listing import describe_spacing
from transfuse_keras.errors import InputError, quantity
from transfuse_keras.evaluation.pooling import refuse_other_evaluation
from transfuse_keras.evaluation.report import write_report
from transfuse_keras.evaluation.report_files import read_metrics
from transfuse_keras.evaluation.results import score_samples, write_thresholds
from transfuse_keras.evaluation.validation import GRID, choose_thresholds, count_validation
from transfuse_keras.files import make_first_free, remove, write_json
from transfuse_keras.inference.ensemble import average_predictors
from transfuse_keras.inference.predict import choose_flips
from transfuse_keras.inference.predict_files import load_members
from transfuse_keras.runs.fitting import known_together
from transfuse_keras.runs.folder import find_run, own_data, read_config, read_split
from transfuse_keras.runs.lock import locked
from transfuse_keras.runs.logfile import LOG, begin_log, logging_to_folder
from transfuse_keras.runs.members import find_members
from transfuse_keras.runs.metadata import keep_ranges
from transfuse_keras.runs.samples import (
    find_relatives,
    is_test,
    own_listing,
    own_samples,
    own_splits,
    recognize,
)
from transfuse_keras.runs.trust import read_trust

log = logging.getLogger(__name__)

LABEL, UNKNOWN = "split of the run", "not of the run"  # an attribute of samples, and its default


@logging_to_folder()
def evaluate_model(
    model,
    data=None,
    out=None,
    task=None,
    threshold=None,
    flips=None,
    spacing=None,
    precision=None,
    jit=None,
    everything=False,
    masks=None,
    group=None,
    shard=None,
):
    """Score a model and leave a folder with tables, pictures, a report and metrics.json.

    Args:
        model: run folder, `.keras` file, SavedModel folder or `.tflite` file; a list of them, or
            the folder of a cross-validation, for the mean of their probabilities.
        data: folder in a known layout. Its test split is scored, or all of it where it names
            none, but nothing that the run was trained on, wherever it lies now, nor other images of
            the same patients; of the run's own data its test split. None is that data.
        out: the folder; by default evaluations/<data> in the run, or the first free <data>-2 ...
        task: Task; by default the run's, or the one that an exported model names.
        threshold: a probability, "auto" for the best on the run's validation split (kept with
            the run), None for what the run or the model keeps, else 0.5.
        flips: average over mirror images, see `predict`; by default as the task says; "tta" for
            all that the training made.
        spacing: (row, column) mm of images whose spacing is not known otherwise.
        precision, jit: as of `load_predictor`.
        everything: score all samples, also those that the run was trained on.
        masks, group: as of `find_samples`.
        shard: Shard of the cases to score into `out`/shard-I-of-N, without a report, or None for
            all; `merge_shards` pools them. One that is complete is not scored again.

    Returns: Path of the folder. "trained_on" in metrics.json counts the scored samples that were
    used in training or to choose the best epoch, or are of such a patient; it is absent where no
    run tells.

    Raises: InputError if model, data or folder cannot be used, or if another process is writing in
    the folder.
    """
    members = find_members(model)
    runs, known = [find_run(path) for path in members], known_together(members)
    run = runs[0]
    if task is None:
        if known is None:
            raise InputError(
                f"{members[0]}: is in no run folder and does not tell its task; give --task."
            )
        task = known[0]
    task = keep_ranges(task, known)
    flips = choose_flips(flips, task)
    predictor = average_predictors(load_members(members, precision, jit, task))
    options = spacing, everything, masks, group
    samples, trained_on = choose_for_all(task, data, runs, *options)
    name = "phantom" if data is None and own_data(run) is None else Path(data or own_data(run)).name
    count = len(samples)
    if shard is not None:
        folder = Path(out) / f"shard-{shard}"
        samples = shard.take(samples)
        if not samples:
            raise InputError(f"--shard: there are fewer cases than {shard.count}.")
    else:
        folder = choose_evaluation_folder(out, find_common_folder(model, runs), name)
    if threshold == "auto" and shard is not None:
        raise InputError("--threshold auto: choose it once, before the shards; then leave it out.")
    if threshold == "auto" and len(members) > 1:
        raise InputError("--threshold auto: is for a single run; give a number for several.")
    if threshold == "auto":
        if run is None:
            raise InputError(
                f"{members[0]}: is in no run folder, so has no validation split for auto."
            )
        validation = validation_samples(task, run)
        counted = count_validation(predictor, validation, task, GRID, flips)
        thresholds = choose_thresholds(counted, task.sure or ())
        write_thresholds(run, thresholds, "auto")
    elif threshold is not None:
        thresholds = dict.fromkeys(task.classes, threshold)
    else:
        values = known[1] if known else [0.5] * len(task.classes)
        thresholds = dict(zip(task.classes, values, strict=True))
    trust = read_trust(members[0]) if len(members) == 1 else None
    about = {
        **{"task": task.name, "data": str(data) if data else own_data(run) or "phantom"},
        "variant": describe_variants(runs),
        "model": str(members[0]),
        **({"averaged": list(map(str, members))} if len(members) > 1 else {}),
        **({"precision": precision} if precision else {}),
        **({} if trained_on is None else {"trained_on": trained_on}),
        **({} if shard is None else {"of_cases": count}),
    }
    if shard is not None and (folder / "metrics.json").is_file():
        done = {**about, "thresholds": thresholds}
        refuse_other_evaluation(folder, read_metrics(folder / "metrics.json"), done)
        log.info(f"{folder}: is complete, there is nothing left to do.")
        return folder
    if out is None:
        folder = make_first_free(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with removed_if_refused(folder) if out is None else nullcontext(), locked(folder):
        begin_log(folder)
        log.info(f"Evaluation folder: {folder}")
        scores = score_samples(folder, predictor, task, samples, thresholds, flips, trust)
        metrics = {**about, **scores}
        if len(members) > 1:
            metrics["protocol"] += f"; mean of {len(members)} models"
        if shard is None:
            write_report(folder, metrics)
        write_json(folder / "metrics.json", metrics)
    return folder


@contextmanager
def removed_if_refused(folder):
    """Within this context an InputError removes a folder, which nobody has named."""
    try:
        yield
    except InputError:
        remove(folder)
        raise


def find_common_folder(model, runs):
    """The folder that an evaluation belongs to: that of the run or of the cross-validation; None
    of several runs and of a lone file."""
    if len(runs) == 1:
        return runs[0]
    only = model[0] if isinstance(model, list) and len(model) == 1 else model
    return None if isinstance(only, list) else Path(only)


def describe_variants(runs):
    """The variant of the models of runs, such as "S", or "S and L"."""
    found = {read_config(run)["recipe"]["variant"] if run else "unknown" for run in runs}
    return " and ".join(sorted(found))


def choose_for_all(task, data, runs, spacing, everything, masks, group):
    """The samples to score by models that are averaged: those that none of them was trained on.

    Args and returns: as of `choose_samples`, but for `runs`: a run or None for each model. With
    `everything` a sample is labelled with its splits of all runs.

    Raises: InputError if no sample is left, or if the runs have other data and none is given.
    """
    if data is None and len({own_data(run) for run in runs}) > 1:
        raise InputError("The models were trained on different data; say by --data what to score.")
    chosen = [choose_samples(task, data, x, spacing, everything, masks, group) for x in runs]
    samples, count = chosen[0]
    if len(runs) == 1:
        return samples, count
    parts = defaultdict(list)
    for found, _ in chosen:
        for sample in found:
            parts[sample.name].append(sample.attributes.get(LABEL))
    kept = [sample for sample in samples if len(parts[sample.name]) == len(runs)]
    if not kept:
        raise InputError(
            "No image is left that none of the models was trained on: give other images by --data, "
            "or --all. The scores of a cross-validation are in its report.html."
        )
    if any(count is None for _, count in chosen):
        return kept, None
    if not everything:
        return kept, max(count for _, count in chosen)
    used = [x for x in kept if set(parts[x.name]) - {"test", UNKNOWN}]
    label = {x.name: " or ".join(sorted(set(parts[x.name]))) for x in kept}
    return [label_split(sample, label) for sample in kept], len(used)


def choose_evaluation_folder(out, run, name):
    """A folder to evaluate into: `out` if it is new or holds no more than the log of an evaluation
    that was refused; else one for the data, which may be taken."""
    if out is None:
        return run / "evaluations" / name if run else Path(f"evaluation-{name}")
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or {x.name for x in folder.iterdir()} - {LOG}):
        raise InputError(f"{folder}: already holds something else; give --out a new folder.")
    return folder


def choose_samples(task, data, run, spacing, everything=False, masks=None, group=None):
    """The samples to score, see `evaluate_model`.

    Returns: (list of Sample, how many of them the run was trained on, or None if no run tells).

    Raises: InputError if there is nothing to score.
    """
    own = data is None or (run is not None and own_data(run) == str(Path(data).resolve()))
    if own and own_data(run) is None:
        splits = own_splits(task, run)
        if not everything:
            return splits["test"], 0
        parts = {sample.name: part for part, of in splits.items() for sample in of}
        samples = [label_split(sample, parts) for of in splits.values() for sample in of]
        return samples, count_used(parts)
    if own and not everything:
        samples = own_samples(task, run, "test")
        parts = (recognize(task, run, samples) if samples else None) or {}
        if not parts or all(is_test(parts.get(sample.name)) for sample in samples):
            return samples, count_used(parts)
        log.warning(
            f"{own_data(run)}: is not as the run found it, other images have the names of its test "
            "split; so each image is recognised by its pixels."
        )
    listing = own_listing(task, run) if own else find_samples(task, data, spacing, masks, group)
    if listing.errors:
        raise InputError(listing.errors[0])
    samples = listing.samples
    for note in [*listing.notes, describe_spacing(samples)] if samples else ():
        log.info(note)
    for warning in listing.warnings:
        log.warning(warning)
    if run is None:
        return samples if everything else keep_test(samples), None
    parts = recognize(task, run, samples)
    if parts is None:
        log.warning(
            f"{run}: its split.csv has no digests of its images, so those that it was trained on "
            "are not recognised here. If some are among them, the scores are optimistic."
        )
        return samples if everything else keep_test(samples), None
    relatives = {} if own_data(run) is None else find_relatives(run, listing, parts)
    together = {**parts, **relatives}
    count = count_used(together)
    if everything:
        if count:
            log.warning(f"{describe_used(samples, parts, relatives)}.")
        return [label_split(sample, together) for sample in samples], count
    if not parts:
        return keep_test(samples), 0
    kept = leave_out_known(run, samples, parts, relatives)
    return kept, count_used({sample.name: together.get(sample.name, "test") for sample in kept})


def count_used(parts):
    """How many samples were used in training or to choose the best epoch: name -> part."""
    return sum(part != "test" for part in parts.values())


def describe_used(samples, parts, relatives):
    """How many samples were used by parts, and how many more are of a patient that was."""
    more = count_used(relatives)
    rest = f", {more} more {'is' if more == 1 else 'are'} of the same patients" if more else ""
    return f"{count_used(parts)} of {quantity(len(samples), 'image')} were used in training{rest}"


def label_split(sample, parts):
    """The sample with its split of the run among its attributes: a subgroup of its own."""
    part = parts.get(sample.name, UNKNOWN)
    return replace(sample, attributes={**sample.attributes, LABEL: part})


def keep_test(samples):
    """The test split that the data itself names, or all of it."""
    return [sample for sample in samples if sample.split == "test"] or samples


def leave_out_known(run, samples, parts, relatives):
    """The samples that a run was not trained on: if all of its test split is there, this; else
    what it does not know, and of its test split what there is.

    Args:
        run, samples, parts: as of `recognize`.
        relatives: as of `find_relatives`: those of patients that it was trained on are left out.
    """
    tested = {row["sample"] for row in read_split(run) if row["split"] == "test"}
    test = [sample for sample in samples if is_test(parts.get(sample.name))]
    if len(test) >= len(tested):
        kept, what = test, "the test split of the run"
    else:
        together = {**parts, **relatives}
        new = [sample for sample in samples if is_test(together.get(sample.name, "test"))]
        kept, what = keep_test(new), "what the run has not seen"
    used = describe_used(samples, parts, relatives)
    if not kept:
        raise InputError(f"{used}, so there is none to score; --all scores them.")
    log.info(f"{used}. Scored: {len(kept)}, {what}.")
    return kept


def validation_samples(task, run):
    """The validation samples of a run.

    Raises: InputError if it was trained on them too.
    """
    if not read_config(run).get("validation", True):
        raise InputError(
            f"{run}: was trained on its validation images too (--val none), so it has none to "
            "choose a threshold by; give --threshold a number."
        )
    return own_samples(task, run, "val")
