"""The report of a synthetic run: what stands in it, and what does not."""

import base64
import json
import math
import re
import shutil
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from transfuse_keras.errors import InputError
from transfuse_keras.evaluation.report import write_report
from transfuse_keras.evaluation.subgroups import summarize_subgroups
from transfuse_keras.files import write_table
from transfuse_keras.tasks import hip, polyp, prostate, skin

CLASSES, METRICS, CASES = ("organ", "left_lesion"), ("dice", "iou", "hd95_mm", "assd_mm"), 60


class Page(HTMLParser):
    """The texts of cells, captions and headings of a page, and all that it refers to."""

    def __init__(self, html):
        super().__init__()
        self.texts, self.references, self.open, self.text = {}, [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.references += [value for name, value in attributes if name in ("src", "href")]
        if tag in ("td", "th", "h2", "h3", "figcaption", "p", "tr", "dd"):
            self.open.append((tag, len(self.text)))

    def handle_endtag(self, tag):
        if self.open and self.open[-1][0] == tag:
            _, start = self.open.pop()
            self.texts.setdefault(tag, []).append(" ".join("".join(self.text[start:]).split()))

    def handle_data(self, data):
        self.text.append(data + " ")


def case_rows():
    random = np.random.default_rng(0)
    rows = []
    for case in range(CASES):
        for name in CLASSES:
            dice = random.beta(8, 2)
            scores = [dice, dice / (2 - dice), *random.gamma(2, (3, 1))]
            empty = name == "left_lesion" and case < 50, name == "left_lesion" and case % 2 == 0
            if any(empty):
                scores = [0.0, 0.0, math.nan, math.nan]
            flags = dict(zip(("truth_empty", "prediction_empty"), empty, strict=True))
            scores = dict(zip(METRICS, scores, strict=True))
            rows.append({"case": f"case_{case:03}", "class": name, **flags, **scores})
    return rows


def summary(rows):
    metrics = {
        **{"task": "organs", "data": "/data/organs", "protocol": "per image & class"},
        **{"variant": "S", "n": CASES, "unit": "mm", "classes": {}, "statistics": {}},
        "thresholds": {"organ": 0.5, "left_lesion": 0.35},
        "calibration": {},
        "sets": {"clinic A": {"n": 40, "mean": {"dice": 0.8123}}},
        "folds": [{"fold": 1, "n": 20, "mean": {"dice": 0.7654}}],
        "seconds_per_case": 0.25,
        "paper": {"S": {"organ": {"dice": 0.91}, "clinic A": {"iou": 0.7}}},
    }
    for i, name in enumerate(CLASSES):
        found = [row for row in rows if row["class"] == name and not row["truth_empty"]]
        values = {metric: np.array([row[metric] for row in found]) for metric in METRICS}
        metrics["classes"][name] = {
            **{metric: float(np.nanmean(values[metric])) for metric in METRICS},
            **{"n": len(found), "empty_kept_empty": 0.5 if i else None},
        }
        metrics["statistics"][name] = {
            metric: {
                **{"mean": float(np.nanmean(of)), "std": float(np.nanstd(of))},
                **{"median": float(np.nanmedian(of)), "low": 0.1234 + i, "high": 0.4321 + i},
                "n": int(np.isfinite(of).sum()),
            }
            for metric, of in values.items()
        }
        centres = (np.arange(14) + 0.5) / 15
        bins = [{"confidence": p, "frequency": p**1.5, "count": 1000} for p in centres]
        bins.append({"confidence": None, "frequency": None, "count": 0})
        metrics["calibration"][name] = {"ece": 0.01234 + i / 100, "bins": bins}
    metrics["mean"] = {
        metric: float(np.mean([of[metric] for of in metrics["classes"].values()]))
        for metric in METRICS
    }
    return metrics


def verified(difference):
    """What `verify` gives of a model that differs by so much."""
    return {
        **{"images": "32 test images", "largest_difference": difference},
        **{"mask_dice": 1 - difference, "keras_dice": 0.9, "dice": 0.9 - difference},
        "dice_lost": difference,
    }


@pytest.fixture
def run(tmp_path):
    """A run folder with every file that a report reads."""
    rows = case_rows()
    write_table(tmp_path / "cases.csv", rows)
    entries = []
    (tmp_path / "overlays").mkdir()
    for i, rank in enumerate(["best", "median", *["worst"] * 10]):
        cv2.imwrite(str(tmp_path / f"overlays/{i}.png"), np.full((24, 32, 3), 20 * i, "uint8"))
        case = {"case": f"case_{i:03}", "score": 0.9 - 0.0707 * i}
        entries.append({"file": f"{i}.png", **case, "rank": rank})
    contents = {
        "metrics.json": summary(rows),
        "overlays/index.json": entries,
        "export.json": {"model.tflite": verified(2e-6), "model-int8.tflite": verified(0.0312)},
        "config.json": {
            "recipe": {"variant": "S", "image_size": [192, 256], "epochs": 3},
            **{"weights": "imagenet", "seed": 7, "versions": {"keras": "3.15.1"}},
        },
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(json.dumps(content))
    history = "epoch,loss,val_loss,val_mask_dice\n1,1.5,1.4,0.5\n2,1.0,1.1,0.8\n3,0.8,1.2,0.7\n"
    (tmp_path / "history.csv").write_text(history)
    return tmp_path


def report(run, **changes):
    """The page of a run whose metrics.json is changed; a change to None takes the entry away."""
    metrics = json.loads((run / "metrics.json").read_text()) | changes
    kept = {key: value for key, value in metrics.items() if value is not None}
    (run / "metrics.json").write_text(json.dumps(kept))
    write_report(run)
    return (run / "report.html").read_text(encoding="utf-8")


def test_tables_hold_the_numbers_of_metrics_json(run):
    page = report(run)
    metrics = json.loads((run / "metrics.json").read_text())
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


def test_hips_are_beside_the_paper_in_mm_alone(run):
    classes = {"pelvis": {"n": 5, "hd_mm": 4.0, "penalized_hd_mm": 11.81, "asd_mm": 1.0}}
    changes = {"task": "hip", "paper": hip.paper, "classes": classes, "statistics": None}
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
    headline = page[page.index('class="headline"') : page.index("<dl>")]
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
    thirds = [x for x in found if x["subgroup"] == "size of the truth"]
    assert [x["n"] for x in thirds] == [20, 20, 20]
    assert [x["value"].split(",")[0] for x in thirds] == ["small", "medium", "large"]


def test_header_tells_what_was_run(run):
    found = set(Page(report(run)).texts["dd"])
    assert {"/data/organs", "per image & class", "keras 3.15.1", "0.25 s per case"} <= found
    assert "TransFuse S, 192 x 256 pixels, weights imagenet" in found


def test_exported_models_are_listed_with_what_was_verified(run):
    page = Page(report(run))
    rows = page.texts["tr"]
    assert "model.tflite 2.0e-06 1.00000 0.9000 0.9000" in rows
    assert "model-int8.tflite 3.1e-02 0.96880 0.8688 0.9000" in rows
    assert any("Compared with the Keras model on 32 test images." in x for x in page.texts["p"])
    without = {**verified(2e-6), **dict.fromkeys(("keras_dice", "dice", "dice_lost"))}
    (run / "export.json").write_text(json.dumps({"model.onnx": without}))
    assert "model.onnx 2.0e-06 1.00000 – –" in Page(report(run)).texts["tr"]


def test_many_metrics_become_two_tables(run):
    assert report(run).count('<table class="scores">') == 1
    mean = {"dice": 0.5, "iou": 0.4, "s_measure": 0.3, "pranet_dice": 0.2, "mae": 0.1}
    mean |= {"hd_mm": 3.0, "assd_mm": None}
    page = report(run, mean=mean)
    assert page.count('<table class="scores">') == 2
    assert {"S-measure", "PraNet Dice", "MAE", "HD, mm"} <= set(Page(page).texts["th"])


def test_cases_appear_with_their_scores(run):
    page = Page(report(run))
    captions = page.texts["figcaption"]
    for entry in json.loads((run / "overlays" / "index.json").read_text()):
        (caption,) = [text for text in captions if entry["case"] in text]
        assert f"Dice {entry['score']:.3f}" in caption and "left_lesion" in caption
    assert {"Best and median", "The 10 worst"} <= set(page.texts["h3"])
    assert "Best: Dice 0.900" in captions[0] and "Median: Dice 0.829" in captions[1]
    assert any("ground truth" in text and "prediction" in text for text in page.texts["p"])


def test_pictures_without_an_index_show_their_names(run):
    (run / "overlays" / "index.json").unlink()
    captions = Page(report(run)).texts["figcaption"]
    assert len(captions) == 12 and "11.png" in captions


def test_undefined_cases_are_named_missed_ones_first(run):
    page = Page(report(run))
    rows = [row for row in page.texts["tr"] if re.match("case_... left_lesion", row)]
    assert len(rows) == 40
    assert rows[0] == "case_050 left_lesion prediction empty HD95, ASSD"
    assert rows[5].startswith("case_001 left_lesion truth empty")
    assert rows[39].startswith("case_018 left_lesion both empty")
    text = " ".join(page.texts["p"])
    assert "55 (prediction empty 5, truth empty 25, both empty 25). The first 40 are" in text


def test_calibration_shows_the_error(run):
    assert {"organ: ECE 0.0123", "left_lesion: ECE 0.0223"} <= set(Page(report(run)).texts["p"])


def test_charts_name_classes_sets_and_the_best_epoch(run):
    def charts(page):
        pictures = re.findall('svg.xml;base64,(.*?)"', page)
        return [base64.b64decode(picture).decode() for picture in pictures]

    dice, distance, loss, curve, first, _ = charts(report(run))
    assert all("<!-- left_lesion -->" in chart for chart in (dice, distance))
    assert "<!-- Dice -->" in dice and "<!-- HD95, mm -->" in distance
    assert "<!-- loss -->" in loss and "<!-- best, epoch 2 -->" in curve and "organ" in first
    table = (run / "cases.csv").read_text()
    (run / "cases.csv").write_text(table.replace("case_00", "A/00").replace("case_0", "B/0"))
    sets = {name: {"n": 1, "mean": {}} for name in "AB"}
    assert "<!-- A organ -->" in charts(report(run, sets=sets))[0]


def test_the_page_is_self_contained_and_repeatable(run):
    page = report(run)
    assert all(value.startswith("data:image/") for value in Page(page).references)
    assert not re.search("http|url\\(|<script|<link|@import", re.sub('base64,[^"]*', "", page))
    assert report(run) == page
    assert not list(run.glob(".part*"))


def test_only_phantoms_are_called_artificial(run):
    assert "artificial" not in report(run).lower() and "phantom" not in report(run)
    page = report(run, data="phantom")
    assert "phantom" in page and "Artificial" in page and "nothing about patients" in page


def test_sections_without_a_file_are_left_out(run):
    headings = ["Scores", "Distribution", "Training", "Cases", "Calibration", "Undefined scores"]
    assert Page(report(run)).texts["h2"] == [*headings, "Exported models"]
    shutil.rmtree(run / "overlays")
    for name in ("history.csv", "export.json", "config.json"):
        (run / name).unlink()
    rows = (run / "cases.csv").read_text().splitlines()
    (run / "cases.csv").write_text("\n".join(row for row in rows if "nan" not in row))
    optional = ("statistics", "calibration", "sets", "folds", "seconds_per_case", "paper")
    page = report(run, **dict.fromkeys(optional))
    assert Page(page).texts["h2"] == ["Scores", "Distribution"]
    assert "h3" not in Page(page).texts and "interval" not in page


@pytest.mark.parametrize("content", [None, "{", "[1]", '{"task": "hip"}'])
def test_a_folder_without_scores_is_told_in_a_sentence(run, content):
    (run / "metrics.json").unlink()
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
        ("overlays/index.json", [{"case": "a"}]),
        ("overlays/index.json", 3),
        ("history.csv", "epoch,loss\none,1.5\n"),
        ("history.csv", "epoch,loss\n1\n"),
        ("cases.csv", "case,class,dice\na,organ,high\n"),
        ("cases.csv", "case,class,dice\na,organ,\n"),
    ],
)
def test_a_damaged_file_of_a_run_is_named_and_the_report_stays(run, name, content):
    before = report(run)
    if name == "metrics.json":
        content = json.loads((run / name).read_text()) | content
    (run / name).write_text(content if name.endswith(".csv") else json.dumps(content))
    with pytest.raises(InputError) as error:
        write_report(run)
    said = str(error.value)
    assert said.startswith(f"{run / name}: ") and said.endswith(" the model again.")
    assert "\n" not in said
    assert (run / "report.html").read_text(encoding="utf-8") == before


@pytest.mark.parametrize("name", ["distributions", "learning_curves", "facts", "headline"])
def test_a_mistake_in_the_drawing_is_not_told_as_a_damaged_file(run, monkeypatch, name):
    def mistaken(*arguments):
        raise TypeError("ours")

    monkeypatch.setattr(f"transfuse_keras.evaluation.report.{name}", mistaken)
    with pytest.raises(TypeError, match="ours"):
        write_report(run)


def test_pictures_come_from_the_run_alone(run, tmp_path):
    entries = json.loads((run / "overlays" / "index.json").read_text())
    (run / "secret.png").write_bytes(b"secret")
    for file in ("../secret.png", str(run / "secret.png")):
        (run / "overlays" / "index.json").write_text(json.dumps([{**entries[0], "file": file}]))
        with pytest.raises(FileNotFoundError, match="overlays/secret.png"):
            write_report(run)
