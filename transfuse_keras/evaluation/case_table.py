"""The cases of a report: the line of each class, the worst first, and the table of all."""

from collections import Counter

import numpy as np

from transfuse_keras.data.pictures import color_of
from transfuse_keras.evaluation.cases import SUBGROUP, choose_headline, is_distance, list_metrics
from transfuse_keras.evaluation.failures import FAILURES, name_failure
from transfuse_keras.evaluation.figures import label, spoken
from transfuse_keras.evaluation.report_files import read_number
from transfuse_keras.evaluation.score_tables import format_score


def label_failures(rows):
    """Rows of cases.csv with a further cell "failure", see `name_failure`."""
    flags = {"True": True, "False": False}
    return [
        row
        | {
            "failure": name_failure(
                flags[row["truth_empty"]],
                flags[row["prediction_empty"]],
                read_number(row.get("dice")),
            )
        }
        for row in rows
    ]


def summarize_classes(metrics, rows):
    """What to see first, a line for each class and, of several, one for their mean.

    Args:
        metrics: content of metrics.json.
        rows: of cases.csv with their failures.

    Returns: list of {"name", "color": None for the mean, "scores": [(name, mean, " [low, high]"
    or "")], "n": cases that show it, "failures": how many, None without rows}.
    """
    statistics, failures = metrics.get("statistics") or {}, Counter()
    for row in rows:
        failures[row["class"]] += bool(row["failure"])
    names = choose_headline(metrics["mean"])
    lines = []
    for i, (name, of) in enumerate(metrics["classes"].items()):
        count = failures[name] if rows else None
        scores = list_scores(of, statistics.get(name) or {}, names)
        lines.append(
            {"name": spoken(name), "color": color_of(i), "scores": scores}
            | {"n": of.get("n"), "failures": count}
        )
    if len(lines) > 1:
        scores = list_scores(metrics["mean"], statistics.get("mean") or {}, names)
        total = failures.total() if rows else None
        mean = {"name": "mean of the classes", "color": None, "scores": scores}
        lines.append(mean | {"n": metrics["n"], "failures": total})
    return lines


def list_scores(scores, statistics, names):
    found = []
    for name in names:
        of = statistics.get(name) or {}
        bounds = [format_score(of.get(end), name) for end in ("low", "high")]
        interval = "" if "–" in bounds else f" [{', '.join(bounds)}]"
        found.append((label(name), format_score(scores.get(name), name), interval))
    return found


def rank_cases(rows):
    """The cases, the worst first: {case: mean Dice of the classes that it shows, or of all}."""
    by_case = {}
    for row in rows:
        by_case.setdefault(row["case"], []).append(row)
    scores = {}
    for case, of in by_case.items():
        shown = [row for row in of if row["truth_empty"] != "True"] or of
        scores[case] = float(np.mean([read_number(row.get("dice")) for row in shown]))
    return dict(sorted(scores.items(), key=lambda item: item[1]))


def tabulate_cases(metrics, rows, pictures):
    """The table of all cases as plain data, for the script of the page.

    Args:
        metrics: content of metrics.json.
        rows: of cases.csv with their failures.
        pictures: what `embed_pictures` gives.

    Returns: {"classes": [{"name", "color"}], "failures": their names, "columns": [{"name",
    "digits": of a number, None for text, "filter": whether its values can be chosen}], "rows":
    [[cell of each column]], the worst first, "pictures": case -> {"uri", "size", "truth",
    "prediction": [[index of the class, path]]}}.
    """
    classes = list(metrics["classes"])
    columns, cells = choose_columns(metrics, rows)
    dice = [i for i, column in enumerate(columns) if column["name"] == "Dice"]
    table = [[cell(row) for cell in cells] for row in rows]
    if dice:
        table.sort(key=lambda row: np.inf if row[dice[0]] is None else row[dice[0]])
    shown = {
        case: {"uri": of["uri"], "size": of["size"]}
        | {
            key: [[classes.index(x), path] for x, path in of[key].items() if x in classes]
            for key in ("truth", "prediction")
        }
        for case, of in pictures.items()
    }
    return {
        "classes": [{"name": spoken(name), "color": color_of(i)} for i, name in enumerate(classes)],
        **{"failures": FAILURES, "columns": columns, "rows": table, "pictures": shown},
    }


def choose_columns(metrics, rows):
    """The columns of `tabulate_cases`, and for each a function from a row to its cell."""
    columns, cells = [], []

    def add(name, cell, digits=None, filtered=False):
        columns.append({"name": name, "digits": digits, "filter": filtered})
        cells.append(cell)

    first = rows[0] if rows else {}
    add("case", lambda row: row["case"])
    if any(row.get("group") not in (None, row["case"]) for row in rows):
        add("patient", lambda row: row["group"])
    if metrics.get("sets"):
        add("test set", lambda row: row["case"].rpartition("/")[0], filtered=True)
    for key in [key for key in first if key.startswith(SUBGROUP)]:
        name = key.removeprefix(SUBGROUP)
        add(name, lambda row, key=key: row[key] or "not given", filtered=True)
    add("class", lambda row: spoken(row["class"]), filtered=True)
    for key in choose_headline(list_metrics(first)):
        digits = 2 if is_distance(key) else 3
        add(label(key), lambda row, key=key: figure(row[key], 4), digits)
    unit = metrics.get("size_unit")
    for key, name in (("truth_size", "truth"), ("prediction_size", "prediction")):
        if unit and key in first:
            add(f"{name}, {unit}", lambda row, key=key: figure(row[key], 1), 0)
    add("failure", lambda row: row["failure"], filtered=True)
    return columns, cells


def figure(text, digits):
    """A cell of cases.csv as a rounded number; None where it is undefined."""
    value = read_number(text)
    return None if np.isnan(value) else round(value, digits)
