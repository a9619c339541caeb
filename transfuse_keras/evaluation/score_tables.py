"""The tables of a report: what is in their cells, as text."""

import math

import jinja2
import numpy as np

from transfuse_keras.evaluation.cases import PENALIZED, is_distance
from transfuse_keras.evaluation.subgroups import SIZE

MOST_COLUMNS = 6  # more metrics become two tables


def shown_metrics(metrics):
    """The scores of the tables; distances with penalty only where a prediction was missing."""
    mean = metrics["mean"]
    return [
        name
        for name, value in mean.items()
        if not name.startswith(PENALIZED)
        or (decimals(value, 9) != decimals(mean.get(name.removeprefix(PENALIZED)), 9))
    ]


def divide_columns(names):
    """The metrics of each table: all in one, or overlaps and distances apart if they are many."""
    if len(names) <= MOST_COLUMNS:
        return [names]
    kinds = [[name for name in names if is_distance(name) == kind] for kind in (False, True)]
    counts = [math.ceil(len(kind) / MOST_COLUMNS) for kind in kinds]
    parts = [np.array_split(kind, n) for kind, n in zip(kinds, counts, strict=True) if n]
    return [part.tolist() for of_kind in parts for part in of_kind]


def score_groups(metrics, columns):
    """The rows of a score table: [(class, [(heading, [text of each column])])]."""
    statistics = metrics.get("statistics") or {}
    groups = list(metrics["classes"].items())
    if len(groups) > 1:
        groups.append(("mean", metrics["mean"]))
    return [(name, statistic_rows(of, statistics.get(name, {}), columns)) for name, of in groups]


def statistic_rows(scores, statistics, columns):
    """The score itself, then what is known about its spread."""
    found = [statistics.get(column) or {} for column in columns]
    pairs = list(zip(found, columns, strict=True))
    rows = {
        "95 % interval": [format_interval(of, column) for of, column in pairs],
        "std": [format_score(of.get("std"), column) for of, column in pairs],
        "median": [format_score(of.get("median"), column) for of, column in pairs],
        "cases": [decimals(of.get("n", scores.get("n")), 0) for of in found],
    }
    known = [(heading, row) for heading, row in rows.items() if set(row) != {"–"}]
    return [("", [format_score(scores.get(column), column) for column in columns]), *known]


def overviews(metrics, names):
    """The mean scores by test set and by fold: [(heading, [(columns, [(name, n, [text])])])]."""
    sets = (metrics.get("sets") or {}).items()
    folds = [(found["fold"], found) for found in metrics.get("folds") or []]

    def rows(parts, columns):
        for name, of in parts:
            yield (
                name,
                of["n"],
                [format_score(of["mean"].get(column), column) for column in columns],
            )

    return [
        (heading, [(columns, rows(parts, columns)) for columns in divide_columns(names)])
        for heading, parts in (("test set", sets), ("fold", folds))
        if parts
    ]


def subgroup_rows(metrics):
    """The table of subgroups: (metrics, [(subgroup, value, cases, patients, [text])])."""
    subgroups, unit = metrics.get("subgroups") or [], metrics.get("size_unit")
    columns = list(subgroups[0]["scores"]) if subgroups else []
    rows = []
    for of in subgroups:
        found = [(of["scores"][column], column) for column in columns]
        cells = [format_with_interval(x, column) for x, column in found]
        name = f"{SIZE} in {unit}" if of["subgroup"] == SIZE and unit else of["subgroup"]
        rows.append((name, of["value"], of["n"], of["groups"], cells))
    return columns, rows


def format_with_interval(statistics, metric):
    """The mean, behind it the interval if there is one."""
    interval = format_interval(statistics, metric)
    behind = "" if interval == "–" else f" ({interval})"
    return format_score(statistics["mean"], metric) + behind


def format_interval(statistics, metric):
    bounds = [format_score(statistics.get(end), metric) for end in ("low", "high")]
    return "–" if "–" in bounds else " to ".join(bounds)


def format_score(value, metric=""):
    """A score with the decimals that its metric deserves; an en dash for no value."""
    return decimals(value, 2 if is_distance(metric) else 3)


def decimals(value, places):
    """A rounded number, with the real minus sign; an en dash for no value."""
    if value is None or isinstance(value, jinja2.Undefined) or value != value:
        return "–"
    return f"{value:.{places}f}".replace("-", "−")
