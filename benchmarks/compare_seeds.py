"""Two kinds of model, each trained with several seeds, on the same cases: the mean of each over its
seeds, and the difference, second - first, paired by case; its 95 % interval draws patients.

    python benchmarks/compare_seeds.py --first U_0 U_1 U_2 --second S_0 S_1 S_2

U_0 and so on are folders of runs or evaluations, as `transfuse compare` takes two. Seeds are not
drawn: the interval is of these seeds, on other patients.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from transfuse_keras.errors import InputError
from transfuse_keras.evaluation.compare import read_case_table, refuse_other_truths, select_values
from transfuse_keras.evaluation.statistics import paired

METRICS = ("iou", "dice", "accuracy")


def compare_seeds(first, second, metric):
    """What `paired` gives of the means over the seeds; arguments: lists of `read_case_table`.

    Raises: InputError if the tables are not of the same cases and classes.
    """
    known = first[0]
    if any(
        (x["cases"], x["classes"]) != (known["cases"], known["classes"]) for x in first + second
    ):
        raise InputError("Give folders that were scored on the same cases and classes.")
    means = [
        np.mean(
            [select_values(x, known["cases"], known["classes"], metric) for x in tables], axis=0
        )
        for tables in (first, second)
    ]
    groups = [known["groups"].get(case, case) for case in known["cases"]]
    return {"first": means[0].mean(), "second": means[1].mean(), **paired(*means, groups)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0], allow_abbrev=False)
    parser.add_argument("--first", nargs="+", type=Path, required=True)
    parser.add_argument("--second", nargs="+", type=Path, required=True)
    given = parser.parse_args()
    tables = [[read_case_table(folder) for folder in x] for x in (given.first, given.second)]
    for folder, table in zip(given.first + given.second, sum(tables, []), strict=True):
        refuse_other_truths(given.first[0], folder, (tables[0][0], table))
    for metric in METRICS:
        found = compare_seeds(*tables, metric)
        print(
            f"{metric}: {found['first']:.4f}, {found['second']:.4f}, difference "
            f"{found['difference']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}], "
            f"p {found['p']:.2g}"
        )
