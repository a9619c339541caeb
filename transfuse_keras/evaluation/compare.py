"""Two runs on the same cases: is one better?"""

import logging

import numpy as np

from transfuse_keras.errors import InputError, quantity
from transfuse_keras.evaluation.cases import (
    PENALIZED,
    add_penalties,
    is_distance,
    list_metrics,
    read_cases,
)
from transfuse_keras.evaluation.statistics import (
    adjust_holm,
    mean_of_classes,
    paired,
    spell_interval,
)
from transfuse_keras.files import format_table

log = logging.getLogger(__name__)

CAPTION = """\
Difference: second - first, with its bootstrap 95 % interval. p: permutation test; groups are
resampled and permuted, each with all its cases: patients, or cases where no patient is known.
Holm: p corrected for all rows of this table.
A distance with penalty is the image's diagonal where the prediction alone is empty."""


def compare(first, second):
    """Paired differences of all scores that two runs share.

    Distances are those of `add_penalties` where both tables have them. Patients are the groups of
    cases.csv; where neither table tells them every case is its own, and a warning says so.

    Args:
        first, second: Paths of run or evaluation folders, each with a cases.csv; or of such tables.

    Returns: list of {"metric", "class": name or "mean" (with two classes or more), "first",
    "second": their means, "difference", "low", "high", "p", "n", "groups", "p_holm": p corrected
    over the list}; see `statistics.paired`.

    Raises: InputError if a folder has no scores, they share no case or no class, or they tell
    different patients of the same cases.
    """
    tables = [read_case_table(folder) for folder in (first, second)]
    cases = [case for case in dict.fromkeys(tables[0]["cases"]) if case in tables[1]["cases"]]
    if not cases:
        raise InputError(f"{second}: has no case of {first}; compare runs on the same test data.")
    for folder, table in zip((first, second), tables, strict=True):
        if left := len(table["cases"]) - len(cases):
            log.warning(f"{folder}: {quantity(left, 'case')} left out, which the other one lacks.")
    groups = match_groups(first, second, tables, cases)
    refuse_other_truths(first, second, tables)
    metrics = match_metrics(first, second, *(table["metrics"] for table in tables))
    classes = match_classes(first, second, *(table["classes"] for table in tables))
    parts = [[name] for name in classes]
    rows = []
    for metric in metrics:
        if f"{PENALIZED}{metric}" in metrics:
            continue
        for names in parts if len(classes) == 1 else [classes, *parts]:
            a, b = (select_values(table, cases, names, metric) for table in tables)
            both = ~np.isnan(a) & ~np.isnan(b)
            if both.any():
                own = (float(mean_of_classes(np.where(both, x, np.nan))) for x in (a, b))
                means = dict(zip(("first", "second"), own, strict=True))
                name = names[0] if len(names) == 1 else "mean"
                rows.append({"metric": metric, "class": name, **means, **paired(a, b, groups)})
    for row, p in zip(rows, adjust_holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = float(p)
    return rows


def refuse_other_truths(first, second, tables):
    """Raise InputError if a case has truths of different size in two tables of one unit."""
    units = [{name for name in table["metrics"] if name.endswith("_mm")} for table in tables]
    if bool(units[0]) != bool(units[1]):
        return
    ours, theirs = (table["rows"] for table in tables)
    for key in sorted(ours.keys() & theirs.keys()):
        sizes = [rows[key].get("truth_size") for rows in (ours, theirs)]
        if None not in sizes and not np.isclose(*sizes, equal_nan=True):
            raise InputError(
                f"{second}: the truth of the case {key[0]} is not that of {first}: {key[1]} has "
                f"the size {sizes[1]:g}, not {sizes[0]:g}; compare scores of the same images."
            )


def match_classes(first, second, ours, theirs):
    """The classes that both tables have; a warning names the others."""
    shared = [name for name in ours if name in theirs]
    if not shared:
        raise InputError(
            f"{second}: its classes ({', '.join(theirs)}) are not those of {first} "
            f"({', '.join(ours)}); give both the same names, for a plan by a classes.txt."
        )
    if left := [name for name in dict.fromkeys([*ours, *theirs]) if name not in shared]:
        log.warning(f"{first} and {second}: only one has the classes {', '.join(left)}.")
    return shared


def match_metrics(first, second, ours, theirs):
    """The scores that both tables have; a warning names the others."""
    shared = [name for name in ours if name in theirs]
    left = [name for name in dict.fromkeys([*ours, *theirs]) if name not in shared]
    if left := [name for name in left if not name.startswith(PENALIZED)]:
        units = [{name[-3:] for name in names if is_distance(name)} for names in (ours, theirs)]
        remedy = "; their distances have other units: score both in mm (--spacing) or in pixels"
        other = all(units) and units[0] != units[1]
        log.warning(
            f"{first} and {second}: only one has {', '.join(left)}{remedy if other else ''}."
        )
    return shared


def match_groups(first, second, tables, cases):
    """The patient of each case, None if neither table tells it."""
    known = [[table["groups"][case] for case in cases] for table in tables if table["groups"]]
    if not known:
        log.warning(
            f"{first} and {second}: cases.csv has no column group, so every case counts as a "
            "patient of its own; score the models again to resample patients."
        )
        return None
    if len(known) == 2 and len(set(zip(*known, strict=True))) > min(map(len, map(set, known))):
        raise InputError(
            f"{second}: its cases.csv tells other patients than that of {first}; score one again."
        )
    return known[0]


def select_values(table, cases, classes, metric):
    """(cases, classes) of a metric, nan where the truth is empty."""
    rows = [[table["rows"][case, name] for name in classes] for case in cases]
    return np.array([[np.nan if x["truth_empty"] else x[metric] for x in row] for row in rows])


def read_case_table(folder):
    """The cases.csv of a folder, or a table as that one: {"rows": (case, class) -> row, "cases",
    "classes", "metrics", "groups": case -> patient, empty where the file does not tell}."""
    path = folder if folder.is_file() else folder / "cases.csv"
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the folder of a finished run or evaluation.")
    rows = add_penalties(read_cases(path))
    return {
        "rows": {(row["case"], row["class"]): row for row in rows},
        "cases": {row["case"]: None for row in rows},
        "classes": list(dict.fromkeys(row["class"] for row in rows)),
        "metrics": list_metrics(rows[0]),
        "groups": {row["case"]: row["group"] for row in rows if "group" in row},
    }


def format_comparison(rows):
    """Lines of a table of `compare`'s rows."""
    heads = ("metric", "class", "first", "second", "difference [95 %]", "p", "Holm")
    cells = [
        (
            *(row["metric"], row["class"], f"{row['first']:.4f}", f"{row['second']:.4f}"),
            f"{row['difference']:+.4f}{spell_interval(row, '+.4f')}",
            *(f"{row['p']:.2g}", f"{row['p_holm']:.2g}", str(row["n"]), str(row["groups"])),
        )
        for row in rows
    ]
    return [*format_table((*heads, "cases", "groups"), cells, 2), "", *CAPTION.splitlines()]
