"""Means over seeds, paired by case, against a hand-made table."""

import pytest

from benchmarks.compare_seeds import compare_seeds
from transfuse_keras.errors import InputError
from transfuse_keras.evaluation.compare import read_case_table

SCORES = {
    "a": [(0.1, 0.3), (0.5, 0.7)],
    "b": [(0.3, 0.5), (0.5, 0.5)],
}  # by both kinds with both seeds


def write_tables(folder, scores):
    """The tables of two seeds."""
    for seed in range(2):
        lines = ["case,group,class,truth_empty,prediction_empty,dice"]
        lines += [f"{case},{case},x,False,False,{at[seed]}" for case, at in scores]
        (folder / f"{seed}.csv").write_text("\n".join(lines) + "\n")
    return [read_case_table(folder / f"{seed}.csv") for seed in range(2)]


def test_seeds_are_averaged_before_cases_are_paired(tmp_path):
    first, second = (
        write_tables(tmp_path, [(case, at[i]) for case, at in SCORES.items()]) for i in range(2)
    )
    found = compare_seeds(first, second, "dice")
    assert found["first"] == pytest.approx(0.3) and found["second"] == pytest.approx(0.55)
    assert found["difference"] == pytest.approx(0.25)  # 0.4 of a, 0.1 of b
    assert (found["low"], found["high"]) == pytest.approx((0.1, 0.4))  # either case alone
    with pytest.raises(InputError, match="the same cases"):
        compare_seeds(first, write_tables(tmp_path, [("a", (1, 1))]), "dice")
