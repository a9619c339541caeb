import math

import numpy as np
import pytest

from transfuse_keras.cli import main
from transfuse_keras.errors import InputError
from transfuse_keras.evaluation.cases import read_cases
from transfuse_keras.evaluation.compare import compare
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
    # over cases, then over classes, as the scores of a run are
    assert rows["mean"]["first"] == pytest.approx((first[:, 0].mean() + first[1:, 1].mean()) / 2)
    for row in rows.values():
        assert row["second"] - row["first"] == pytest.approx(row["difference"])
    assert rows["mean"]["low"] > 0.03 and rows["mean"]["p"] <= 1e-4
    assert compare(a, (b / "cases.csv").rename(tmp_path / "other.csv")) == list(rows.values())
    (tmp_path / "other.csv").rename(b / "cases.csv")
    assert main(["compare", str(a), str(b)]) == 0
    head, _, first_row, *_ = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["metric", "class"] and "Holm" in head
    assert first_row.split()[:2] == ["dice", "mean"]
    assert f"{rows['mean']['difference']:+.4f} [" in first_row
    assert head.split()[-2:] == ["cases", "groups"] and first_row.split()[-2:] == ["20", "20"]


def write_images(folder, dice, patients, distances=None):
    """A folder with a cases.csv of images of patients, as `evaluate` writes it."""
    folder.mkdir()
    rows = []
    for i, (score, patient) in enumerate(zip(dice, patients, strict=True)):
        row = {"case": f"{i}", "group": f"p{patient}", "class": "a", "truth_empty": False}
        row |= {"prediction_empty": False, "truth_size": 9.0, "diagonal": 100.0, "dice": score}
        if distances is not None:
            row |= {"prediction_empty": math.isnan(distances[i]), "hd_mm": distances[i]}
        rows.append(row)
    write_table(folder / "cases.csv", rows)
    return folder


def test_patients_are_resampled_not_images(tmp_path, caplog):
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(6), 10)
    first = rng.uniform(0.6, 0.8, 60)
    second = first + np.repeat([0.04, 0.05, 0.05, -0.01, 0.04, -0.02], 10)
    a, b = (
        write_images(tmp_path / name, dice, patients)
        for name, dice in (("a", first), ("b", second))
    )
    (row,) = compare(a, b)
    assert (row["n"], row["groups"]) == (60, 6) and not caplog.records
    assert row["p"] > 0.1 and row["low"] < 0.01  # six patients, two of them worse
    # older tables tell no patients: every image counts, which is said
    for folder, dice in ((a, first), (b, second)):
        rows = [
            {
                **{"case": f"{i}", "class": "a", "truth_empty": False},
                **{"prediction_empty": False, "dice": x},
            }
            for i, x in enumerate(dice)
        ]
        write_table(folder / "cases.csv", rows)
    (row,) = compare(a, b)
    assert row["groups"] == 60 and row["p"] < 0.001 and "no column group" in caplog.text


def test_other_patients_of_the_same_cases_are_refused(tmp_path):
    a = write_images(tmp_path / "a", [0.5] * 4, [0, 0, 1, 1])
    b = write_images(tmp_path / "b", [0.6] * 4, [0, 1, 1, 0])
    with pytest.raises(InputError, match="other patients"):
        compare(a, b)
    renamed = write_images(tmp_path / "c", [0.6] * 4, [7, 7, 3, 3])
    assert compare(a, renamed)[0]["groups"] == 2


def test_a_run_that_predicts_nothing_on_hard_cases_is_not_better(tmp_path):
    nan = math.nan
    careful = write_images(tmp_path / "a", [0.9, 0.8, 0.3], range(3), [1.0, 2.0, 30.0])
    silent = write_images(tmp_path / "b", [0.9, 0.8, 0.0], range(3), [1.0, 2.0, nan])
    rows = {row["metric"]: row for row in compare(careful, silent)}
    assert set(rows) == {"dice", "penalized_hd_mm"}
    assert rows["penalized_hd_mm"]["difference"] == pytest.approx(70 / 3)
    assert rows["penalized_hd_mm"]["n"] == 3


def test_p_values_are_corrected_over_metrics_and_classes(tmp_path):
    rng = np.random.default_rng(0)
    first = rng.uniform(0.4, 0.9, (20, 2))
    a = write(tmp_path / "a", first)
    b = write(tmp_path / "b", first + rng.normal(0.01, 0.03, (20, 2)))
    rows = sorted(compare(a, b), key=lambda row: row["p"])
    assert len(rows) == 3  # mean, a, b
    assert rows[0]["p_holm"] == pytest.approx(min(1, 3 * rows[0]["p"]))
    assert all(row["p_holm"] >= row["p"] for row in rows)


def test_of_one_patient_there_is_no_interval(tmp_path, capsys):
    a = write_images(tmp_path / "a", [0.5, 0.5], [1, 1])
    b = write_images(tmp_path / "b", [0.5, 0.7], [1, 1])
    assert main(["compare", str(a), str(b)]) == 0
    row = capsys.readouterr().out.splitlines()[2]
    assert "+0.1000" in row and "[" not in row


def test_runs_that_cannot_be_compared(tmp_path, capsys):
    a = write(tmp_path / "a", np.full((3, 2), 0.5))
    b = write(tmp_path / "b", np.full((9, 2), 0.5), [5, 6])
    with pytest.raises(InputError, match="no case"):
        compare(a, b)
    assert main(["compare", str(a), str(tmp_path / "absent")]) == 2
    assert "absent/cases.csv: no such file" in capsys.readouterr().err


def test_what_only_one_of_two_runs_has_is_said_and_left_out(tmp_path, caplog):
    a = write(tmp_path / "a", np.full((9, 2), 0.5))
    b = write(tmp_path / "b", np.full((9, 2), 0.6), [2, 4])
    table = (b / "cases.csv").read_text()
    (b / "cases.csv").write_text(table.replace(",b,", ",c,"))
    (row,) = compare(a, b)  # no mean over one class of two
    assert (row["class"], row["n"]) == ("a", 2)
    assert "7 cases" in caplog.text and "b, c" in caplog.text
    (b / "cases.csv").write_text(table.replace(",a,", ",d,").replace(",b,", ",c,"))
    with pytest.raises(InputError, match=r"d, c.*a, b"):
        compare(a, b)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "lacks cases"),
        (lambda text: text.splitlines()[0], "lacks cases"),
        (lambda text: text.replace("class", "kind"), "float: 'a'"),
        (lambda text: text.replace("truth_empty", "dice2"), "float: 'F"),
        (lambda text: text.replace("0.5", "half", 1), "float: 'half'"),
        (lambda text: text.replace("False", "No", 1), "'No'"),
        (lambda text: text.rpartition("2,b")[0], "lacks cases"),
        (lambda text: text[:-6], "row 6 "),
        (lambda text: text + text.splitlines()[3] + "\n", "the case 1 is there twice"),
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


def test_cases_of_one_name_but_other_truths_are_refused(tmp_path):
    for folder, size in (("a", 300.0), ("b", 300.0), ("c", 40.0)):
        write(tmp_path / folder, np.full((4, 2), 0.5))
        rows = read_cases(tmp_path / folder / "cases.csv")
        write_table(tmp_path / folder / "cases.csv", [{**row, "truth_size": size} for row in rows])
    assert compare(tmp_path / "a", tmp_path / "b")
    with pytest.raises(InputError, match="the truth of the case 0 .* a has the size 40, not 300"):
        compare(tmp_path / "a", tmp_path / "c")


def test_distances_of_other_units_are_left_out_with_a_warning(tmp_path, caplog):
    a, b = (write_images(tmp_path / x, [0.5] * 3, range(3), [1.0] * 3) for x in "ab")
    assert {row["metric"] for row in compare(a, b)} == {"dice", "penalized_hd_mm"}
    assert not caplog.records
    table = (b / "cases.csv").read_text()
    (b / "cases.csv").write_text(table.replace("hd_mm", "hd_px"))
    assert {row["metric"] for row in compare(a, b)} == {"dice"}
    assert "only one has hd_mm, hd_px; their distances have other units" in caplog.text


def test_a_table_that_a_spreadsheet_saved_is_read(tmp_path):
    """With a byte order mark, semicolons and TRUE."""
    folder = write(tmp_path / "a", np.full((3, 2), 0.5))
    text, rows = (folder / "cases.csv").read_text(), read_cases(folder / "cases.csv")
    text = text.replace(",", ";").replace("True", "TRUE").replace("False", "FALSE")
    (folder / "cases.csv").write_text(text, encoding="utf-8-sig")
    assert read_cases(folder / "cases.csv") == rows
