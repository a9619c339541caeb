"""The report of a synthetic run: what stands in it, and what does not."""

import base64
import json
import math
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from scored_run import CASES, CLASSES, METRICS, PICTURED, SQUARE, case_rows, make_run, verified

from transfuse_keras.errors import InputError
from transfuse_keras.evaluation import figures
from transfuse_keras.evaluation.facts import count_split, describe_split
from transfuse_keras.evaluation.paper import beside_paper
from transfuse_keras.evaluation.report import write_report
from transfuse_keras.evaluation.subgroups import (
    divide_numbers,
    find_worst,
    spell,
    summarize_subgroups,
)
from transfuse_keras.files import read_table, write_table
from transfuse_keras.tasks import hip, polyp, prostate, skin


class Page(HTMLParser):
    """The texts of cells, captions and headings of a page, and all that it refers to."""

    def __init__(self, html):
        super().__init__()
        self.texts, self.references, self.open, self.text = {}, [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.references += [value for name, value in attributes if name in ("src", "href")]
        if tag in ("li", "td", "th", "h2", "h3", "figcaption", "p", "tr", "dd"):
            self.open.append((tag, len(self.text)))

    def handle_endtag(self, tag):
        if self.open and self.open[-1][0] == tag:
            _, start = self.open.pop()
            self.texts.setdefault(tag, []).append(" ".join("".join(self.text[start:]).split()))

    def handle_data(self, data):
        self.text.append(data + " ")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run folder with every file that a report reads, and its report; tests only read it."""
    folder = make_run(tmp_path_factory.mktemp("run"))
    write_report(folder)
    return folder


@pytest.fixture
def page(whole):
    """The report of the run `whole`."""
    return (whole / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def drawn(whole, tmp_path):
    """A copy of the run `whole`, to be changed."""
    return shutil.copytree(whole, tmp_path / "run")


@pytest.fixture
def run(drawn, monkeypatch):
    """The same, whose charts are left white: they take most of the time."""
    monkeypatch.setattr(figures, "chart", lambda draw, height, **subplots: "data:image/svg+xml,")
    return drawn


def report(run, **changes):
    """The page of a run whose metrics.json is changed; a change to None takes the entry away."""
    metrics = json.loads((run / "metrics.json").read_text()) | changes
    kept = {key: value for key, value in metrics.items() if value is not None}
    (run / "metrics.json").write_text(json.dumps(kept))
    write_report(run)
    return (run / "report.html").read_text(encoding="utf-8")


def test_tables_hold_the_numbers_of_metrics_json(whole, page):
    metrics = json.loads((whole / "metrics.json").read_text())
    cells = Page(page).texts["td"]
    for scores in (*metrics["classes"].values(), metrics["mean"]):
        for metric in METRICS:
            assert f"{scores[metric]:.{2 if metric.endswith('mm') else 3}f}" in cells
    for of in metrics["statistics"].values():
        assert {f"{of['dice'][key]:.3f}" for key in ("std", "median")} <= set(cells)
    assert {"0.123 to 0.432", "1.12 to 1.43", "0.350", "0.812", "0.765", "0.910"} <= set(cells)
    assert {"HD95, mm", "ASSD, mm", "Dice", "IoU"} <= set(Page(page).texts["th"])
    assert f"{metrics['classes']['organ']['dice'] - 0.91:+.3f}".replace("-", "−") in cells
    assert f"<td>{metrics['mean']['dice']:.3f}</td>" in page
    rows = Page(page).texts["tr"]
    assert "clinic A 40 0.812 – – –" in rows
    assert not any("0.700" in row for row in rows)  # this run has no IoU of that set


def paper_rows(run, **changes):
    """The rows of the table beside the paper, without its head."""
    page = report(run, **changes)
    if "Beside the paper" not in page:
        return []
    table = page[page.index("Beside the paper") :]
    return Page(table[: table.index("</table>")]).texts["tr"][1:]


def test_only_the_same_variant_protocol_and_data_stand_beside_the_paper(run):
    figures = {"pranet_dice": 0.8, "dice": 0.7, "iou": 0.6}
    sets = {
        name: {"n": 8 + i, "mean": {metric: x + i / 100 for metric, x in figures.items()}}
        for i, name in enumerate(("TestDataset/CVC-300", "TestDataset/ETIS-LaribPolypDB", "own"))
    }
    changes = {"task": "polyp", "paper": polyp.paper, "sets": sets}
    wanted = [
        "EndoScene, PraNet Dice 8 0.902 0.800 −0.102",
        "ETIS, PraNet Dice 9 0.733 0.810 +0.077",
    ]
    assert paper_rows(run, **changes, variant="S") == wanted
    wanted = [
        "EndoScene, PraNet Dice 8 0.894 0.800 −0.094",
        "ETIS, PraNet Dice 9 0.737 0.810 +0.073",
    ]
    assert paper_rows(run, variant="L*") == wanted
    assert paper_rows(run, variant="Ti") == paper_rows(run, variant="S:E.1") == []
    assert paper_rows(run, variant="S", data="phantom") == []
    # one test set alone is known by its folder
    alone = {"sets": None, "data": "/data/TestDataset/CVC-ColonDB", "mean": figures}
    assert paper_rows(run, **alone) == ["ColonDB, PraNet Dice 60 0.773 0.800 +0.027"]


def test_a_part_of_what_a_run_was_trained_on_is_no_test_set_of_the_paper():
    scores = {"n": 5, "mean": {"pranet_dice": 0.8}}
    metrics = {**scores, "data": "/d/CVC-ClinicDB", "variant": "S", "classes": {}}
    metrics["paper"] = polyp.paper
    own, other = {"data": "/d/CVC-ClinicDB"}, {"data": "/d/mine"}
    assert [row[0] for row in beside_paper(metrics, [other])] == ["ClinicDB"]
    assert not beside_paper(metrics, [own]) and not beside_paper(metrics, [other, own])
    metrics["sets"] = {"CVC-ClinicDB": scores, "TestDataset/CVC-300": scores}
    assert [row[0] for row in beside_paper(metrics, [own])] == ["EndoScene"]
    assert not beside_paper(metrics, [own | {"fold": [0, 5]}])


def test_hips_are_beside_the_paper_in_mm_alone(run):
    classes = {"pelvis": {"n": 5, "hd_mm": 4.0, "penalized_hd_mm": 11.81, "asd_mm": 1.0}}
    changes = {"task": "hip", "paper": hip.paper, "classes": classes, "statistics": None}
    changes |= {"confusion": None, "size_unit": None}
    rows = paper_rows(run, **changes)
    assert rows == [
        "pelvis, HD with penalty, mm 5 9.81 11.81 +2.00",
        "pelvis, ASD, mm 5 1.09 1.00 −0.09",
    ]
    pixels = {"pelvis": {"n": 5, "hd_px": 4.0, "asd_px": 1.0}}
    assert paper_rows(run, classes=pixels) == []


def test_the_papers_tables_are_in_the_tasks():
    """As in the paper's text: Tables 1 to 4."""
    columns = {variant: polyp.paper[variant] for variant in ("S", "L", "L*")}
    rows = {
        variant: [x for figures in of.values() for x in figures.values()]
        for variant, of in columns.items()
    }
    assert rows == {
        "S": [0.918, 0.868, 0.918, 0.868, 0.773, 0.696, 0.902, 0.833, 0.733, 0.659],
        "L": [0.918, 0.868, 0.934, 0.886, 0.744, 0.676, 0.904, 0.838, 0.737, 0.661],
        "L*": [0.920, 0.870, 0.942, 0.897, 0.781, 0.706, 0.894, 0.826, 0.737, 0.663],
    }
    assert list(polyp.paper["L"]) == ["Kvasir", "ClinicDB", "ColonDB", "EndoScene", "ETIS"]
    assert list(skin.paper["S"]["lesion"].values()) == [0.795, 0.872, 0.944]
    assert [x["hd_mm"] for x in hip.paper["S"].values()] == [9.81, 4.44, 4.19]
    assert [x["asd_mm"] for x in hip.paper["S"].values()] == [1.09, 0.767, 0.676]
    assert [x["dice"] for x in prostate.paper["S"].values()] == [0.6738, 0.8539, 0.7639]


def test_the_headline_is_the_distance_with_penalty(run):
    mean = {"dice": 0.8, "hd95_mm": 3.0, "penalized_hd95_mm": 20.5}
    page = report(run, mean=mean)
    headline = page[page.index('class="headline"') : page.index("</ul>")]
    assert "20.50" in headline and "3.00" not in headline
    assert "HD95 with penalty, mm" in Page(page).texts["th"]
    # nothing was missed: one column is enough
    page = report(run, mean=mean | {"penalized_hd95_mm": 3.0})
    assert "HD95 with penalty, mm" not in Page(page).texts["th"]


def test_the_worst_subgroup_is_named_with_its_interval(run):
    rows = case_rows()
    for row in rows:
        number = int(row["case"][-3:])
        row |= {"group": f"p{number // 2}", "truth_size": 1.0 + number, "diagonal": 50.0}
        row["subgroup_device"] = "ABC"[number % 3]
        if number % 3 == 1:
            row["dice"] *= 0.5
    found = summarize_subgroups(rows)
    assert {x["subgroup"] for x in found} == {"device", "size of the truth"}
    devices = [x for x in found if x["subgroup"] == "device"]
    assert [(x["value"], x["n"], x["groups"]) for x in devices] == [
        *(("A", 20, 20), ("B", 20, 20), ("C", 20, 20)),
    ]
    page = Page(report(run, subgroups=found))
    scores = devices[1]["scores"]["dice"]
    (line,) = [row for row in page.texts["tr"] if row.startswith("device: B")]
    assert f"{scores['mean']:.3f} ({scores['low']:.3f} to {scores['high']:.3f})" in line
    assert any(text.startswith("The lowest score: device B , Dice") for text in page.texts["p"])
    assert sum(row.startswith("size of the truth in mm²: ") for row in page.texts["tr"]) == 3
    thirds = [x for x in found if x["subgroup"] == "size of the truth"]
    assert [x["n"] for x in thirds] == [20, 20, 20]
    assert [x["value"].split(",")[0] for x in thirds] == ["small", "medium", "large"]


def test_many_numbers_are_divided_in_thirds_and_single_cases_are_no_subgroup():
    rows = [row for row in case_rows() if row["class"] == case_rows()[0]["class"]][:40]
    for number, row in enumerate(rows):
        row |= {"group": f"p{number}", "subgroup_age": "" if number < 4 else f"{20 + number}"}
        row |= {"subgroup_hospital": f"{number % 2 + 1}", "subgroup_note": f"note {number}"}
        row |= {"subgroup_stage": "IV" if number == 7 else "I"}
        row["dice"] = 0.1 if number == 7 else 0.9 if number % 2 else 0.8
        row |= {"truth_empty": False, "prediction_empty": False}
    found = summarize_subgroups(rows)
    ages = {x["value"]: x["n"] for x in found if x["subgroup"] == "age"}
    low, high = np.quantile(np.arange(24, 60), (1 / 3, 2 / 3))
    assert ages == {
        **{"not given": 4, f"low, up to {low:.4g}": 12, "medium": 12},
        **{f"high, above {high:.4g}": 12},
    }
    assert [x["value"] for x in found if x["subgroup"] == "hospital"] == ["1", "2"]
    assert not [x for x in found if x["subgroup"] == "note"]
    worst = find_worst([x for x in found if x["subgroup"] in ("hospital", "stage")])
    assert worst["value"] == "1"  # one patient is not a subgroup to be named
    assert [spell(x) for x in (47486.3, 0.0312, 12.0)] == ["47,490", "0.0312", "12"]


@pytest.mark.parametrize(
    ("value", "divided"),
    [
        (lambda i: f"{101 + i % 8}", False),  # hospitals
        (lambda i: f"{101.5 + i % 8}", True),
        (lambda i: f"{20 + i % 40}", True),  # ages
        (lambda i: f"{20 + i % 60}", True),
        (lambda i: f"{i % 6 / 2}", False),
    ],
)
def test_codes_are_a_subgroup_each_and_amounts_are_divided(value, divided):
    values = {str(i): value(i) for i in range(200)}
    found = divide_numbers(values, {case: case for case in values})
    assert (len(set(found.values())) == 3) == divided == (found != values)


def test_ages_of_patients_with_many_images_are_no_codes():
    groups = {str(i): f"p{i % 8}" for i in range(200)}
    ages = {case: f"4{group[1]}" for case, group in groups.items()}
    assert len(set(divide_numbers(ages, groups).values())) == 3


def test_header_tells_what_was_run(page):
    found = set(Page(page).texts["dd"])
    assert {"/data/organs", "per image & class", "0.25 s per case", "2026-11-28"} <= found
    assert "TransFuse S, 192 x 256 pixels, weights imagenet" in found
    assert "training 3 images of 2 patients, validation 1 image of 1 patient" in " ".join(found)
    assert {"transfuse-keras 0.1.0, keras 3.15.1", "transfuse train --data organs"} <= found
    assert {"rotation ±10°, scale ±10 %", "Card X"} <= found
    assert "1 h 2 min, in 2 sessions, begun 2026-11-27 23:10 UTC+01:00" in found
    assert any("kinds, not as patients" in x and "are then optimistic" in x for x in found)


def test_patients_are_counted_where_something_tells_them():
    rows = [{"split": "train", "group": x, "sample": x} for x in ("a", "b")]
    assert count_split(rows) == (2, 0) and describe_split([rows]) == "training 2 images"
    rows.append({"split": "test", "group": "P", "sample": "c"})
    assert count_split(rows) == (2, 2) and describe_split([rows]).endswith("1 image of 1 patient")


def test_an_evaluation_tells_of_the_run_that_it_lies_in(run):
    folder = run / "evaluations" / "clinic"
    folder.mkdir(parents=True)
    for name in ("metrics.json", "cases.csv"):
        shutil.copy(run / name, folder / name)
    found = Page(report(folder)).texts["dd"]
    assert "TransFuse S, 192 x 256 pixels, weights imagenet" in found and "Card X" in found


def test_exported_models_are_listed_with_what_was_verified(run, page):
    page = Page(page)
    rows = page.texts["tr"]
    assert "model.tflite 2.0e-06 1.00000 0.9000 0.9000" in rows
    assert "model-int8.tflite 3.1e-02 0.96880 0.8688 0.9000" in rows
    assert any("Compared with the Keras model on 32 test images." in x for x in page.texts["p"])
    without = {**verified(2e-6), **dict.fromkeys(("keras_dice", "dice", "dice_lost"))}
    (run / "export.json").write_text(json.dumps({"model.onnx": without}))
    assert "model.onnx 2.0e-06 1.00000 – –" in Page(report(run)).texts["tr"]


def test_many_metrics_become_two_tables(run, page):
    assert page.count('<table class="scores">') == 1
    mean = {"dice": 0.5, "iou": 0.4, "s_measure": 0.3, "pranet_dice": 0.2, "mae": 0.1}
    mean |= {"hd_mm": 3.0, "assd_mm": None}
    page = report(run, mean=mean)
    assert page.count('<table class="scores">') == 2
    assert {"S-measure", "PraNet Dice", "MAE", "HD, mm"} <= set(Page(page).texts["th"])


def cases_of(page):
    """The table of cases of a page: its data, and its rows as dicts by the names of the columns."""
    text = re.search('id="cases-data">(.*?)</script>', page).group(1)
    data = json.loads(text)
    names = [column["name"] for column in data["columns"]]
    return data, [dict(zip(names, row, strict=True)) for row in data["rows"]]


def test_each_class_has_a_line_on_top_with_interval_and_failures(whole, page):
    metrics, rows = json.loads((whole / "metrics.json").read_text()), case_rows()
    lines = Page(page).texts["li"][:3]
    for line, name in zip(lines, CLASSES, strict=False):
        of, low = metrics["classes"][name], metrics["statistics"][name]["dice"]["low"]
        failed = sum(
            row["truth_empty"] != row["prediction_empty"]
            or (row["dice"] < 0.5 and not row["truth_empty"])
            for row in rows
            if row["class"] == name
        )
        # both empty is right, but the scores of these made-up rows are 0
        failed += sum(
            row["truth_empty"] and row["prediction_empty"] for row in rows if row["class"] == name
        )
        assert line.startswith(f"{name.replace('_', ' ')} {of['dice']:.3f} [{low:.3f}, ")
        assert f"n {of['n']}" in line and f"{failed} failure" in line
    assert lines[2].startswith(f"mean of the classes {metrics['mean']['dice']:.3f}")


def test_where_there_is_no_interval_the_mean_stands_alone(run):
    """As of one patient, and limits of agreement of one case."""
    write_table(run / "cases.csv", case_rows()[:2])
    alone = {"subgroup": "device", "value": "A", "n": 60, "groups": 1}
    alone["scores"] = {"dice": {"mean": 0.4567, "low": None, "high": None, "groups": 1}}
    page = report(run, statistics=None, subgroups=[alone])
    of = json.loads((run / "metrics.json").read_text())["classes"]["organ"]
    assert f"<b>{of['dice']:.3f}</b>, n {of['n']}" in page
    assert "<td>0.457</td>" in page
    assert "organ: mean difference 1.000 mm², n 1<" in page


def test_the_four_worst_cases_come_first_with_their_pictures(page):
    captions = Page(page).texts["figcaption"]
    dice = {}
    for row in case_rows():
        if not row["truth_empty"]:
            dice.setdefault(row["case"], []).append(row["dice"])
    pictured = {case: np.mean(dice[case]) for case in sorted(dice)[:PICTURED]}
    worst = sorted(pictured, key=pictured.get)[:4]
    assert [text.split(":")[0] for text in captions] == worst
    assert f"Dice {pictured[worst[0]]:.3f}" in captions[0]
    first = page[page.index("<figure>") : page.index("</figure>")]
    labels = re.findall('role="img" aria-label="(.*?) of ', first)
    assert labels == ["image", "truth", "prediction"]
    assert first.count(f'class="outline line" d="{SQUARE}"') == 2  # of the truth, of the prediction
    assert first.count('class="outline dash"') == 1  # the truth, in the prediction
    assert page.index("<figure>") < page.index("All cases") < page.index("<h2>Scores")


def test_all_cases_are_in_the_table_with_scores_sizes_and_failures(page):
    data, rows = cases_of(page)
    assert len(rows) == 2 * CASES and len(data["pictures"]) == PICTURED
    assert [row["Dice"] for row in rows] == sorted(row["Dice"] for row in rows)
    found = {(row["case"], row["class"]): row for row in rows}
    for row in case_rows():
        ours = found[row["case"], row["class"].replace("_", " ")]
        assert ours["Dice"] == pytest.approx(row["dice"], abs=1e-4)
        assert ours["truth, mm²"] == row["truth_size"]
        distance = ours["HD95, mm"]
        assert distance is None if math.isnan(row["hd95_mm"]) else distance > 0
    assert found["case_001", "left lesion"]["failure"] == "false alarm"
    assert found["case_050", "left lesion"]["failure"] == "missed"
    assert {row["failure"] for row in rows if row["class"] == "organ"} <= {"", "Dice below 0.5"}
    picture = data["pictures"]["case_003"]
    assert picture["truth"] == [[0, SQUARE]] and picture["prediction"] == [[1, SQUARE]]
    assert len({of["color"] for of in data["classes"]}) == 2


def test_subgroups_and_sets_can_be_chosen(run):
    rows = read_table(run / "cases.csv")
    for i, row in enumerate(rows):
        row |= {"case": f"{'AB'[i % 4 // 2]}/{row['case']}", "subgroup_device": "XY"[i % 2]}
    write_table(run / "cases.csv", rows)
    data, rows = cases_of(report(run, sets={name: {"n": 1, "mean": {}} for name in "AB"}))
    chosen = {column["name"] for column in data["columns"] if column["filter"]}
    assert chosen == {"test set", "device", "class", "failure"}
    assert {row["test set"] for row in rows} == {"A", "B"}


def test_a_name_cannot_break_out_of_the_page(run):
    table = (run / "cases.csv").read_text()
    (run / "cases.csv").write_text(table.replace("case_003", "</script><b>&amp;"))
    page = report(run)
    assert "<b>" not in re.sub("<b>[0-9.–]+</b>", "", page)
    assert "</script><b>&amp;" in {row["case"] for row in cases_of(page)[1]}


def test_without_pictures_the_table_stays(run):
    shutil.rmtree(run / "pictures")
    page = report(run)
    assert "worst cases" not in page and len(cases_of(page)[1]) == 2 * CASES


def test_undefined_scores_are_counted_missed_ones_first(page):
    text = " ".join(Page(page).texts["p"])
    assert "55 (prediction empty 5, truth empty 25, both empty 25)" in text


def test_agreement_of_sizes_is_bland_and_altmans(page):
    """Of the organ the prediction is larger by 1 in each case; the lesion has no such bias."""
    text = Page(page).texts["p"]
    assert any(x.startswith("organ: mean difference 1.000 mm², limits of") for x in text)
    assert any("1.000 to 1.000, n 60" in x for x in text)


def test_confusion_is_told_in_percent_of_the_true_pixels(page):
    rows = Page(page).texts["tr"]
    assert "background 90.0 5.0 5.0" in rows and "organ 25.0 75.0 0.0" in rows
    assert "left lesion 0.0 25.0 75.0" in rows


def test_confusion_where_predictions_overlap_is_of_the_true_pixels_too(run):
    """Of 40 true pixels of the lesion all are found, and 10 are predicted as organ as well."""
    counts = {"confusion": [[900, 50, 50], [25, 75, 0], [0, 10, 40]]}
    page = Page(report(run, **counts))
    assert "left lesion 0.0 25.0 100.0" in page.texts["tr"]
    assert any("may add up to more than 100" in text for text in page.texts["p"])
    older = Page(report(run, **counts, true_pixels=None))  # the row has 50 counts
    assert "left lesion 0.0 20.0 80.0" in older.texts["tr"]
    assert any("score the model again for the percent" in text for text in older.texts["p"])


def test_the_checklist_says_what_the_run_knows_and_what_not(page):
    rows = Page(page).texts["tr"]
    items = [row for row in rows if re.match(r"\d+ ", row)][-44:]
    assert [int(row.split()[0]) for row in items] == list(range(1, 45))
    assert items[22] == "23 Libraries and versions transfuse-keras 0.1.0, keras 3.15.1"
    assert items[43] == "44 Funding for the author"
    assert items[23] == "24 Initial weights From imagenet."


def test_it_says_what_the_model_is_not_for(run, page):
    said = " ".join(Page(page).texts["li"])
    assert "not a medical device" in said
    assert "3 images of 2 patients" in said and "organ, left lesion" in said
    assert "Seen in training" not in page and "Seen in training" in report(run, trained_on=4)


def test_models_that_are_averaged_are_each_told_of(run):
    config = json.loads((run / "config.json").read_text()) | {"data": "/data/old"}
    (run / "config.json").write_text(json.dumps(config))
    other = shutil.copytree(run, run.with_name("other"))
    changed = config | {"recipe": config["recipe"] | {"epochs": 77}, "data": "/data/new"}
    (other / "config.json").write_text(json.dumps(changed))
    page = report(run, averaged=[str(run), str(other)], folds=None)
    said = " ".join(re.sub("<[^>]+>", " ", page).split())
    assert "Each of its 2 models was trained on 3 images of 2 patients" in said
    assert "/data/old and /data/new" in said and "model 1: epochs 77, " in said
    assert "The mean of the probabilities of 2 models" in said


def test_calibration_shows_the_error(page):
    assert {"organ: ECE 0.0123", "left lesion: ECE 0.0223"} <= set(Page(page).texts["p"])


def test_charts_name_classes_sets_and_the_best_epoch(drawn, page):
    def charts(page):
        pictures = re.findall('svg.xml;base64,(.*?)"', page)
        return [base64.b64decode(picture).decode() for picture in pictures]

    dice, distance, sizes, _, first, _, loss, curve = charts(page)
    assert all("<!-- left lesion -->" in chart for chart in (dice, distance))
    assert "<!-- Dice -->" in dice and "<!-- HD95, mm -->" in distance
    assert "<!-- loss -->" in loss and "<!-- best, epoch 2 -->" in curve and "organ" in first
    assert "<!-- mean of prediction and truth, mm² -->" in sizes
    table = (drawn / "cases.csv").read_text()
    (drawn / "cases.csv").write_text(table.replace("case_00", "A/00").replace("case_0", "B/0"))
    sets = {name: {"n": 1, "mean": {}} for name in "AB"}
    assert "<!-- A organ -->" in charts(report(drawn, sets=sets))[0]


def test_the_page_is_self_contained_and_repeatable(drawn, page):
    references = [value for value in Page(page).references if value != "#limits"]
    assert all(value.startswith("data:image/") for value in references)
    text = re.sub('base64,[^"]*', "", page).replace("http://www.w3.org/2000/svg", "")
    assert not re.search("http|url\\(|<link|@import|fetch|import\\(", text)
    assert report(drawn) == page
    assert not list(drawn.glob(".part*"))


def test_only_phantoms_are_called_artificial(run, page):
    assert "Artificial images" not in page and "phantom" not in page
    page = report(run, data="phantom")
    assert "phantom" in page and "Artificial images" in page and "nothing about patients" in page


def test_sections_without_a_file_are_left_out(run, page):
    always = ["Scores", "Where it errs", "How it was made", "What this model is not for"]
    checklist = ["CLAIM checklist"]
    whole = ["The 4 worst cases", "All cases", *always, *checklist, "Exported models"]
    assert Page(page).texts["h2"] == whole
    shutil.rmtree(run / "pictures")
    for name in ("history.csv", "export.json", "config.json", "sessions.json", "split.csv"):
        (run / name).unlink()
    rows = (run / "cases.csv").read_text().splitlines()
    (run / "cases.csv").write_text("\n".join(row for row in rows if "nan" not in row))
    optional = ("statistics", "calibration", "sets", "folds", "seconds_per_case", "paper")
    page = report(run, **dict.fromkeys((*optional, "confusion", "size_unit")))
    assert Page(page).texts["h2"] == ["All cases", *always, *checklist]
    assert Page(page).texts["h3"] == ["Distribution"] and "interval" not in page


@pytest.mark.parametrize("content", [None, "{", "[1]", '{"task": "hip"}'])
def test_a_folder_without_scores_is_told_in_a_sentence(run, content):
    (run / "metrics.json").unlink()
    (run / "report.html").unlink()
    if content is not None:
        (run / "metrics.json").write_text(content)
    with pytest.raises(InputError) as error:
        write_report(run)
    said = str(error.value)
    assert said.startswith(f"{run / 'metrics.json'}: ") and "\n" not in said
    assert not (run / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.json", {"mean": {"dice": "much"}}),
        ("metrics.json", {"thresholds": [0.5]}),
        ("metrics.json", {"statistics": {"organ": 3}}),
        ("metrics.json", {"calibration": {"organ": {}}}),
        ("metrics.json", {"calibration": {"organ": {"ece": 0.1, "bins": [{"count": -1}]}}}),
        ("metrics.json", {"sets": {"clinic A": {"n": 1}}}),
        ("config.json", {"recipe": {"image_size": 3}}),
        ("export.json", {"model.tflite": {"dice": "high"}}),
        ("export.json", ["model.tflite"]),
        ("pictures/index.json", [{"case": "a"}]),
        ("pictures/index.json", 3),
        ("metrics.json", {"confusion": [[1, 2], [3]]}),
        ("metrics.json", {"confusion": [[1, 2], [3, 4]]}),
        ("metrics.json", {"true_pixels": [1, 2]}),
        ("history.csv", "epoch,loss\none,1.5\n"),
        ("history.csv", "epoch,loss\n1\n"),
        ("cases.csv", "case,class,dice\na,organ,high\n"),
        ("cases.csv", "case,class,dice\na,organ,\n"),
    ],
)
def test_a_damaged_file_of_a_run_is_named_and_the_report_stays(run, name, content):
    before = (run / "report.html").read_text(encoding="utf-8")
    if name == "metrics.json":
        content = json.loads((run / name).read_text()) | content
    (run / name).write_text(content if name.endswith(".csv") else json.dumps(content))
    with pytest.raises(InputError) as error:
        write_report(run)
    said = str(error.value)
    assert said.startswith(f"{run / name}: ") and said.endswith(" the model again.")
    assert "\n" not in said
    assert (run / "report.html").read_text(encoding="utf-8") == before


@pytest.mark.parametrize(
    "name", ["distributions", "learning_curves", "facts_together", "summarize_classes"]
)
def test_a_mistake_in_the_drawing_is_not_told_as_a_damaged_file(run, monkeypatch, name):
    def mistaken(*arguments):
        raise TypeError("ours")

    monkeypatch.setattr(f"transfuse_keras.evaluation.report.{name}", mistaken)
    with pytest.raises(TypeError, match="ours"):
        write_report(run)


def test_pictures_come_from_the_run_alone(run):
    entries = json.loads((run / "pictures" / "index.json").read_text())
    (run / "secret.webp").write_bytes(b"secret")
    for file in ("../secret.webp", str(run / "secret.webp")):
        (run / "pictures" / "index.json").write_text(json.dumps([{**entries[0], "file": file}]))
        with pytest.raises(FileNotFoundError, match="pictures/secret.webp"):
            write_report(run)
