import numpy as np
import pytest

from transfuse_keras.cli import main
from transfuse_keras.errors import InputError
from transfuse_keras.evaluation.compare import compare
from transfuse_keras.evaluation.evaluate import read_cases
from transfuse_keras.files import write_table


def write(folder, dice, cases=None):
    folder.mkdir()
    rows = [
        {
            **{"case": f"{case}", "class": name, "truth_empty": case == 0 and name == "b"},
            **{"prediction_empty": False, "dice": float(dice[case, i])},
        }
        for case in cases or range(len(dice))
        for i, name in enumerate("ab")
    ]
    write_table(folder / "cases.csv", rows)
    assert read_cases(folder / "cases.csv") == rows
    return folder


def test_differences_are_paired_by_case(tmp_path, capsys):
    rng = np.random.default_rng(0)
    first = rng.uniform(0.4, 0.9, (20, 2))
    second = first + rng.normal(0.05, 0.01, (20, 2))
    a, b = write(tmp_path / "a", first), write(tmp_path / "b", second, list(range(19, -1, -1)))
    rows = {row["class"]: row for row in compare(a, b)}
    assert rows["a"]["difference"] == pytest.approx((second - first)[:, 0].mean())
    assert rows["b"]["difference"] == pytest.approx((second - first)[1:, 1].mean())
    assert rows["b"]["n"] == 19 and rows["mean"]["n"] == 20
    assert rows["mean"]["low"] > 0.03 and rows["mean"]["p"] < 1e-4
    assert main(["compare", str(a), str(b)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert (
        said[1].split()[:2] == ["dice", "mean"] and f"{rows['mean']['difference']:+.4f}" in said[1]
    )


def test_runs_that_cannot_be_compared(tmp_path, capsys):
    a = write(tmp_path / "a", np.full((3, 2), 0.5))
    b = write(tmp_path / "b", np.full((9, 2), 0.5), [5, 6])
    with pytest.raises(InputError, match="has no case of"):
        compare(a, b)
    assert main(["compare", str(a), str(tmp_path / "absent")]) == 2
    assert "absent/cases.csv: no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "it lacks cases or columns"),
        (lambda text: text.splitlines()[0], "it lacks cases or columns"),
        (lambda text: text.replace("class", "kind"), "could not convert string to float: 'a'"),
        (
            lambda text: text.replace("truth_empty", "dice2"),
            "convert string to float: 'F",
        ),
        (lambda text: text.replace("0.5", "half", 1), "could not convert string to float: 'half'"),
        (lambda text: text.replace("False", "No", 1), "'No'"),
        (lambda text: text.rpartition("2,b")[0], "it lacks cases or columns"),
        (lambda text: text[:-6], "row 6 has not one value a column"),
        (lambda text: text.replace("0.5", "\udcff", 1), "UnicodeDecodeError"),
    ],
)
def test_a_damaged_table_of_scores_is_one_sentence(tmp_path, change, message):
    folder = write(tmp_path / "a", np.full((3, 2), 0.5))
    text = change((folder / "cases.csv").read_text())
    (folder / "cases.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=f"a/cases.csv: damaged.*{message}") as error:
        compare(folder, folder)
    assert "\n" not in str(error.value)
