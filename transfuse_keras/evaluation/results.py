"""What a finished training or an evaluation leaves: scores, pictures, exported models, report."""

import datetime
import logging
import math
import zlib
from contextlib import nullcontext

import numpy as np

from transfuse_keras.data.pictures import enlarge, overlay, save_png, select_visible_slice
from transfuse_keras.errors import quantity
from transfuse_keras.evaluation.evaluate import evaluate
from transfuse_keras.evaluation.pictures import write_picture
from transfuse_keras.evaluation.protocols import describe_protocol
from transfuse_keras.evaluation.statistics import summarize
from transfuse_keras.evaluation.subgroups import summarize_subgroups
from transfuse_keras.evaluation.trust import TrustCheck
from transfuse_keras.evaluation.validation import average_dices
from transfuse_keras.files import replacing, write_json, write_table
from transfuse_keras.inference.predict import AT_ONCE
from transfuse_keras.runs.folder import COMPONENTS
from transfuse_keras.runs.metadata import update_thresholds

log = logging.getLogger(__name__)


WORST = 10  # cases shown besides the best and the median one
SIZE_UNITS = {  # (unit of distances, whether cases are volumes)
    **{("mm", False): "mm²", ("mm", True): "mm³"},
    **{("px", False): "pixels", ("px", True): "voxels"},
}


def write_thresholds(run, thresholds, chosen):
    """Keep the thresholds with the run: whatever uses its model uses them."""
    how = "best Dice on the validation split, else 0.5" if chosen == "auto" else "given"
    write_json(run / "threshold.json", {"thresholds": thresholds, "chosen": how})
    update_thresholds(run, thresholds)


def write_sure(run, task, validation):
    """Keep with the run of which classes of a task only sure components stay, and the best mean
    Dice of its validation images without that and with it."""
    if task.field is not None:
        return
    rise = {}
    for name, cases in validation.cases.items():
        both = average_dices(cases), average_dices(cases, sure=True)
        rise[name] = [None if x is None else float(x.max()) for x in both]
    write_json(run / COMPONENTS, {"sure": task.sure, "validation_dice": rise})
    if task.sure:
        log.info(f"Of {', '.join(task.sure)} only sure components stay ({COMPONENTS}).")


def score_samples(folder, predictor, task, samples, thresholds, flips="", trust=None):
    """Score samples and leave tables and pictures.

    Args:
        folder: Path of an existing folder.
        predictor: TransFuse or Predictor.
        task: Task.
        samples: list of Sample.
        thresholds: class -> probability.
        flips: average over mirror images, see `predict`.
        trust: Trust of the model, which is then checked on these samples; or None.

    Writes: cases.csv, with a Trust quality.csv, a cases-<name>.csv for the other masks of an
    `Evaluation`, of volumes predictions/, overlays/ of a few cases and pictures/ of all, see
    `write_picture`.

    Returns: what metrics.json says of the scores: `summarize`, "scored": the day, "protocol",
    "thresholds", "size_unit": of the sizes in cases.csv, "calibration", "confusion",
    "true_pixels", "paper", "seconds_per_case", "subgroups": see `summarize_subgroups`, with a
    Trust "trust": see `TrustCheck.summarize`, and, if the samples are of several test sets,
    "sets": name -> its own "n", "mean" and "classes".
    """
    log.info(f"Scoring {quantity(len(samples), 'test case')}")
    values = tuple(thresholds.values())
    volumes = any(sample.save for sample in samples)
    saving = replacing(folder / "predictions") if volumes else nullcontext()
    with replacing(folder / "pictures") as temporary, saving as predictions:
        temporary.mkdir()
        if volumes:
            predictions.mkdir()
        entries, packed, check = [], {}, trust and TrustCheck(trust, task.classes)

        def visit(sample, image, truth, maps, masks):
            case = sample, image, truth, masks
            entries.append(write_picture(temporary, len(entries), *case, task.classes))
            packed[sample.name] = pack_masks(masks)
            if check:
                check.add(sample, image, truth, maps, masks)

        result = evaluate(predictor, samples, task, values, flips, predictions, visit)
        write_json(temporary / "index.json", entries)
    write_table(folder / "cases.csv", result.rows)
    if check and check.rows:
        write_table(folder / "quality.csv", check.rows)
    for name, rows in result.others.items():
        write_table(folder / f"cases-{name}.csv", rows)
    write_overlays(folder / "overlays", samples, result.rows, packed)
    summary = summarize(result.rows)
    if "uncut" in result.others:
        tell_cut(task, summary, summarize(result.others["uncut"]))
    return {
        **summary,
        "scored": datetime.date.today().isoformat(),
        "protocol": describe_protocol(task, thresholds, summary["unit"], flips),
        "thresholds": thresholds,
        "size_unit": SIZE_UNITS[summary["unit"], task.field is not None],
        "calibration": result.calibration,
        "confusion": result.confusion,
        "true_pixels": result.true_pixels,
        "paper": task.paper,
        # the first batch, or the first case, pays for compiling
        "seconds_per_case": float(
            np.median(result.seconds[AT_ONCE:] or result.seconds[1:] or result.seconds)
        ),
        "subgroups": summarize_subgroups(result.rows),
        **({"trust": check.summarize()} if check else {}),
        **summarize_sets(result.rows),
    }


def tell_cut(task, kept, uncut):
    """Log what it changed that of the `sure` classes of a task only sure components stay.

    Args:
        task: Task.
        kept, uncut: as of `summarize`, with it and without.
    """
    scores = [summary["mean"]["dice"] for summary in (kept, uncut)]
    if not any(map(math.isnan, scores)):  # as they are where no truth shows a class
        log.info(
            "Of {} only sure components are kept: mean Dice {:.4f}, with all {:.4f} "
            "(cases-uncut.csv).".format(", ".join(task.sure), *scores)
        )


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


def pack_masks(masks):
    """0/1 masks in few bytes, so that those of all cases can be held until the worst are known."""
    return masks.shape, zlib.compress(np.packbits(masks), level=1)


def unpack_masks(shape, content):
    bits = np.frombuffer(zlib.decompress(content), "uint8")
    return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape)


def write_overlays(folder, samples, rows, packed):
    """Draw the best, the median and the worst cases by Dice.

    The Dice of a case is the mean over the classes that it shows, or over all if it shows none.

    Args:
        folder: Path; what it held is replaced.
        samples: list of Sample.
        rows: their scores, see `Evaluation`.
        packed: name of a sample -> its predicted masks, as of `pack_masks`.

    Writes: PNG files and index.json, a list of {"file", "case", "score", "rank"}.
    """
    cases, scores = {}, {}
    for row in rows:
        cases.setdefault(row["case"], []).append(row)
    for name, case in cases.items():
        shown = [row for row in case if not row["truth_empty"]]
        scores[name] = float(np.mean([row["dice"] for row in shown or case]))
    ranked = sorted(samples, key=lambda sample: scores[sample.name])
    chosen = [("best", ranked[-1]), ("median", ranked[len(ranked) // 2])]
    chosen += [("worst", sample) for sample in ranked[:WORST]]
    index = []
    with replacing(folder) as temporary:
        temporary.mkdir()
        for number, (rank, sample) in enumerate(chosen):
            image, truth = sample.read()
            truth, masks = (truth == 1).astype("uint8"), unpack_masks(*packed[sample.name])
            name = f"{number:02}_{rank}_{sample.file_name}.png"
            picture = overlay(*enlarge(*select_visible_slice(image, masks, truth)))
            save_png(temporary / name, picture)
            entry = {"file": name, "case": sample.name, "score": scores[sample.name]}
            index.append({**entry, "rank": rank})
        write_json(temporary / "index.json", index)
