"""Scores of parts, folds or shards, as those of the whole."""

import logging
import shutil
from pathlib import Path

import numpy as np

from transfuse_keras.errors import InputError, blaming
from transfuse_keras.evaluation.cases import read_cases, share_columns
from transfuse_keras.evaluation.report import write_report
from transfuse_keras.evaluation.report_files import read_metrics
from transfuse_keras.evaluation.results import WORST, summarize_sets
from transfuse_keras.evaluation.statistics import summarize
from transfuse_keras.evaluation.subgroups import summarize_subgroups
from transfuse_keras.evaluation.trust import pool_trust
from transfuse_keras.files import read_json, read_table, replacing, write_json, write_table
from transfuse_keras.metrics.calibration import pool_calibration

log = logging.getLogger(__name__)

# what two shards of one evaluation have in common
COMMON = ("task", "data", "variant", "model", "averaged", "precision", "trained_on", "thresholds")
COMMON += ("unit", "size_unit", "protocol", "paper")
COUNTS = ("confusion", "true_pixels")


def merge_shards(folder):
    """Pool what `evaluate --shard` left in a folder.

    Args:
        folder: Path; holds shard-0-of-N to shard-(N-1)-of-N.

    Writes: cases.csv, overlays/, pictures/, predictions/ of volumes, report.html and, last,
    metrics.json, as an evaluation of all cases in one process does.

    Raises: InputError if a shard is missing or not complete, if one was scored otherwise, or if the
    images changed between them.
    """
    shards = find_shards(folder)
    parts = [read_metrics(shard / "metrics.json") for shard in shards]
    for shard, part in zip(shards, parts, strict=True):
        refuse_other_evaluation(shard, part, parts[0])
    rows = sorted(read_all_cases(shards, "cases.csv"), key=lambda row: row["case"])
    cases = [(row["case"], row["class"]) for row in rows]
    if len(set(cases)) < len(cases) or len({case for case, _ in cases}) != parts[0]["of_cases"]:
        raise InputError(f"{folder}: its shards are of other images; score all of them again.")
    write_table(folder / "cases.csv", rows)
    for table in sorted(path.name for path in shards[0].glob("cases-*.csv")):
        write_table(folder / table, read_all_cases(shards, table))
    pool_overlays(folder / "overlays", [shard / "overlays" for shard in shards])
    pool_pictures(folder / "pictures", [shard / "pictures" for shard in shards])
    predictions = [file for shard in shards for file in shard.glob("predictions/*")]
    if predictions:
        with replacing(folder / "predictions") as temporary:
            temporary.mkdir()
            for file in predictions:
                shutil.copyfile(file, temporary / file.name)
    metrics = {
        **{key: parts[0][key] for key in (*COMMON, "scored") if key in parts[0]},
        **summarize(rows),
        "calibration": pool_calibration([part["calibration"] for part in parts]),
        **{key: pool_counts([part.get(key) for part in parts]) for key in COUNTS},
        "subgroups": summarize_subgroups(rows),
        "seconds_per_case": float(np.median([part["seconds_per_case"] for part in parts])),
        **summarize_sets(rows),
    }
    metrics |= pool_quality(folder, shards, parts)
    write_report(folder, metrics)
    write_json(folder / "metrics.json", metrics)


def refuse_other_evaluation(shard, part, other):
    """Raise InputError if a shard was not scored as another one was.

    Args:
        shard: its folder.
        part, other: both contents; of `other` only what is there is compared.
    """
    for key in (*COMMON, "of_cases"):
        if key in other and part.get(key) != other[key]:
            raise InputError(
                f"{shard}: was scored with another {key} ({part.get(key)}, not {other[key]}); give "
                "all shards the same options and images, or another --out."
            )


def find_shards(folder):
    """The folders of all shards of an evaluation, in order."""
    found = sorted(folder.glob("shard-*-of-*"))
    counts = {path.name.rpartition("-")[2] for path in found}
    if len(counts) != 1 or not counts.copy().pop().isdecimal():
        what = "shards of several numbers" if counts else "no shard-0-of-N"
        raise InputError(f"{folder}: holds {what}; give the --out of `evaluate --shard`.")
    count = int(counts.pop())
    wanted = [folder / f"shard-{index}-of-{count}" for index in range(count)]
    missing = [path.name for path in wanted if not (path / "metrics.json").is_file()]
    if missing:
        raise InputError(
            f"{folder}: not complete: {', '.join(missing)}; repeat the command with that --shard."
        )
    return wanted


def pool_quality(folder, homes, parts):
    """{"trust": what was found of all parts together}; {} where one has none.

    Args:
        folder: Path; gets quality.csv.
        homes: the folders of the parts.
        parts: the content of metrics.json of each.
    """
    if not all("trust" in part for part in parts):
        return {}
    tables = [home / "quality.csv" for home in homes]
    rows = [row for path in tables if path.is_file() for row in read_table(path)]
    rows.sort(key=lambda row: row["case"])
    if rows:
        write_table(folder / "quality.csv", rows)
    return {"trust": pool_trust([part["trust"] for part in parts], rows)}


def pool_counts(parts):
    """The sum of one of the COUNTS of each part; None if one has none."""
    return None if None in parts else np.sum(parts, axis=0).tolist()


def read_all_cases(folders, name):
    """The rows of all parts, with the columns that all have."""
    rows, missing = share_columns([row for folder in folders for row in read_cases(folder / name)])
    if missing:
        log.warning(f"Not every part has {', '.join(missing)}; they are left out of the pool.")
    return rows


def pool_overlays(folder, parts):
    """The best, the median of the medians and the worst of the parts' pictures."""
    entries = []
    for part in parts:
        index = part / "index.json"
        with blaming(index, "missing or damaged", "score that part again"):
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


def pool_pictures(folder, parts):
    """The pictures of all cases, in the order of their names."""
    with replacing(folder) as temporary:
        temporary.mkdir()
        index = []
        for number, part in enumerate(parts):
            for entry in read_json(part / "index.json"):
                file = f"{number}-{entry['file']}"
                shutil.copyfile(part / entry["file"], temporary / file)
                index.append({**entry, "file": file})
        write_json(temporary / "index.json", sorted(index, key=lambda entry: entry["case"]))
