"""cases.csv: one row a case and class, with its scores and what they are averaged by."""

import math
from collections import Counter

from transfuse_keras.errors import SCORE_AGAIN, blaming
from transfuse_keras.files import read_table

UNITS = ("_mm", "_px")
PENALIZED = "penalized_"  # begins the name of a distance without holes, see `add_penalties`
SUBGROUP = "subgroup_"  # begins the name of a column that tells the hospital, the device, ...
FLAGS = {"True": True, "False": False}  # which a spreadsheet writes in capitals
DESCRIPTION = {  # the columns that are no scores, and how their text is read
    "case": str,
    "group": str,
    "class": str,
    "truth_empty": lambda text: FLAGS[text.capitalize()],
    "prediction_empty": lambda text: FLAGS[text.capitalize()],
    "truth_size": float,
    "prediction_size": float,
    "diagonal": float,
}
NEEDED = {"case", "class", "truth_empty", "prediction_empty"}


def is_distance(metric):
    return metric.endswith(UNITS)


def list_metrics(row):
    """The names of the scores in a row."""
    return [key for key in row if key not in DESCRIPTION and not key.startswith(SUBGROUP)]


def choose_headline(metrics):
    """The scores to see first: Dice and HD95, or the first score."""
    wanted = [f"{start}hd95{unit}" for start in (PENALIZED, "") for unit in UNITS]
    distance = [name for name in wanted if name in metrics][:1]
    return [name for name in ("dice", *distance) if name in metrics] or list(metrics)[:1]


def read_cases(path):
    """Rows of a cases.csv as `evaluate` gave them. InputError if it is damaged.

    Files of earlier releases have no "group", "truth_size", "prediction_size" and "diagonal".
    """
    with blaming(path, "damaged", SCORE_AGAIN):
        rows = [
            {key: parse_cell(key, value) for key, value in row.items()}
            for row in read_table(path, SCORE_AGAIN)
        ]
        pairs = {(row["case"], row["class"]): row.keys() >= NEEDED for row in rows}
        cases, classes = ({pair[i] for pair in pairs} for i in (0, 1))
        if len(pairs) < len(rows):
            found = Counter((row["case"], row["class"]) for row in rows)
            raise ValueError(f"the case {found.most_common(1)[0][0][0]} is there twice")
        if not rows or not all(pairs.values()) or len(pairs) != len(cases) * len(classes):
            raise ValueError("it lacks cases or columns")
    return rows


def parse_cell(key, text):
    return text if key.startswith(SUBGROUP) else DESCRIPTION.get(key, float)(text)


def add_penalties(rows):
    """Rows with a further score for each distance, without the holes that flatter.

    A distance is undefined where a mask is empty, so a model that gives up on hard cases has the
    better mean. "penalized_hd_mm" is the image's diagonal where the prediction alone is empty,
    else the same as "hd_mm": nan where the truth is empty.

    Rows without the column "diagonal", of earlier releases, are given back as they are.
    """
    if "diagonal" not in rows[0]:
        return rows
    return [row | penalties(row) for row in rows]


def penalties(row):
    missed = row["prediction_empty"] and not row["truth_empty"]
    return {
        f"{PENALIZED}{key}": row["diagonal"] if missed and math.isnan(row[key]) else row[key]
        for key in list_metrics(row)
        if is_distance(key)
    }


def share_columns(rows):
    """Rows with the same columns: subgroups that a row lacks are empty, scores that some rows
    lack are left out. Returns: (rows, the names of the scores left out)."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    kept = [name for name in names if name.startswith(SUBGROUP) or all(name in row for row in rows)]
    return [{name: row.get(name, "") for name in kept} for row in rows], [
        name for name in names if name not in kept
    ]
