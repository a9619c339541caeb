"""Two runs on the same cases: is one better?"""

import numpy as np

from transfuse_keras.errors import InputError
from transfuse_keras.evaluation.evaluate import read_cases
from transfuse_keras.evaluation.statistics import paired


def compare(first, second):
    """Paired differences of all scores that two runs share.

    Args:
        first, second: Paths of run or evaluation folders, each with a cases.csv.

    Returns: list of {"metric", "class": name or "mean", "first", "second": their means,
    "difference", "low", "high", "p", "n"}; see `statistics.paired`.

    Raises: InputError if a folder has no scores or they share no case.
    """
    tables = [read_case_table(folder) for folder in (first, second)]
    cases = [case for case in dict.fromkeys(tables[0]["cases"]) if case in tables[1]["cases"]]
    if not cases:
        raise InputError(f"{second}: has no case of {first}; compare runs on the same test data.")
    rows = []
    for metric in tables[0]["metrics"]:
        if metric not in tables[1]["metrics"]:
            continue
        classes = [name for name in tables[0]["classes"] if name in tables[1]["classes"]]
        values = [
            np.array([[table["rows"][case, name][metric] for name in classes] for case in cases])
            for table in tables
        ]
        empty = [
            [tables[0]["rows"][case, name]["truth_empty"] for name in classes] for case in cases
        ]
        for part in values:
            part[np.array(empty)] = np.nan
        for name, columns in [("mean", slice(None)), *((x, [i]) for i, x in enumerate(classes))]:
            a, b = (part[:, columns] for part in values)
            both = ~np.isnan(a) & ~np.isnan(b)
            if both.any():
                means = {"first": float(a[both].mean()), "second": float(b[both].mean())}
                rows.append({"metric": metric, "class": name, **means, **paired(a, b)})
    return rows


def read_case_table(folder):
    """The cases.csv of a folder: {"rows": (case, class) -> row, "cases", "classes", "metrics"}."""
    path = folder / "cases.csv"
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the folder of a finished run or evaluation.")
    rows = read_cases(path)
    return {
        "rows": {(row["case"], row["class"]): row for row in rows},
        "cases": {row["case"]: None for row in rows},
        "classes": list(dict.fromkeys(row["class"] for row in rows)),
        "metrics": [key for key, value in rows[0].items() if isinstance(value, float)],
    }


def format_comparison(rows):
    """Lines of a table of `compare`'s rows."""
    heads = f"{'first':>9}{'second':>9}{'difference [95 %]':>30}{'p':>10}{'n':>6}"
    lines = [f"{'metric':16}{'class':16}{heads}"]
    for row in rows:
        interval = f"{row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]"
        lines.append(
            f"{row['metric']:16}{row['class']:16}{row['first']:9.4f}{row['second']:9.4f}"
            f"{interval:>30}{row['p']:10.2g}{row['n']:6}"
        )
    return lines
