"""What the README and docs/ claim, run."""

import re
import runpy
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import SMALLEST_UNET
from pages import py_block

import transfuse_keras as tk
from benchmarks.size import describe_size
from transfuse_keras.training.ablation import list_rows
from transfuse_keras.weights import PUBLISHED

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
README = (ROOT / "README.md").read_text()
DATA = (ROOT / "docs" / "data.md").read_text()
EVALUATION = (ROOT / "docs" / "evaluation.md").read_text()
PRECISION = (ROOT / "docs" / "precision.md").read_text()
COMING_FROM = (ROOT / "docs" / "coming-from.md").read_text(encoding="utf-8")
WEIGHTS = (ROOT / "docs" / "weights.md").read_text()


@pytest.fixture
def run_code(tmp_path, monkeypatch):
    """A function that runs a page's Python blocks as one script here; what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(page):
        blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
        with redirect_stdout(StringIO()) as printed:
            exec("\n".join(blocks), {"__name__": "__main__"})
        return printed.getvalue()

    yield run
    keras.config.set_dtype_policy("float32")  # a page may have set another


@pytest.mark.slow
def test_the_ten_lines_of_api_run(run_code, tmp_path):
    assert run_code(README).rstrip().endswith("mm")
    assert (tmp_path / "hip.keras").is_file()


def test_the_page_on_data_runs(run_code):
    assert run_code(DATA).splitlines()[-1] == "(16, 96, 128, 3) (16, 96, 128, 1)"


@pytest.mark.slow
def test_fit_and_predict_take_what_the_page_on_data_says():
    model = tk.TransFuse(SMALLEST_UNET, (32, 32, 3), 2)
    model.compile(run_eagerly=True)  # sooner than tracing a graph for each line
    image = np.full((40, 50, 3), 9, "uint8")
    labels = np.arange(2 * 32 * 32).reshape(2, 32, 32) % 3
    masks = np.stack([labels == 1, labels == 2], axis=-1).astype("float32")
    names = {"tk": tk, "model": model, "image": image, "labels": labels, "masks": masks}
    names |= {"images": np.zeros((2, 32, 32, 3), "float32"), "weights": np.ones(2, "float32")}
    exec(py_block(ROOT / "docs" / "data.md"), names)
    assert model.optimizer.iterations == 4  # a step for each call of fit


def test_the_page_on_scores_runs(run_code):
    score, distance = map(float, run_code(EVALUATION).split())
    assert score == pytest.approx(2 * 18 * 20 / (400 + 18 * 24)) and distance == pytest.approx(1.6)


def test_the_page_on_precision_runs(run_code):
    assert run_code(PRECISION).split() == ["bfloat16", "float32"]


def test_the_page_for_users_of_other_libraries_runs(run_code):
    run_code(COMING_FROM)


@pytest.mark.slow
def test_the_example_for_the_gallery_of_keras_learns_and_draws(monkeypatch):
    shown = []
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: shown.append(1))
    scores = runpy.run_path(ROOT / "examples" / "keras_io.py")["scores"]
    assert len(shown) == 2
    assert min(dice for values in scores.values() for dice, _ in values) > 0.5


@pytest.mark.slow
def test_the_page_on_weights_runs(run_code):
    printed = run_code(WEIGHTS)
    assert printed.count("skip_heads=True") == 2
    assert "resnet.conv1.weight: made for RGB" in printed


@pytest.mark.slow
def test_the_page_on_the_hub_runs(run_code, tmp_path):
    run_code((ROOT / "docs" / "hub.md").read_text())
    assert (tmp_path / "preset" / "config.json").is_file()


def test_the_page_on_weights_lists_every_published_file():
    rows = [
        line.strip("| ").split(" | ")
        for line in WEIGHTS.splitlines()
        if "in1k" in line or "in21k" in line
    ]
    listed = {row[0]: row[1:] for row in rows if row[0] in PUBLISHED}
    assert list(listed) == list(PUBLISHED)
    for name, (licence, trained_on, size, normalization, revision) in listed.items():
        row = PUBLISHED[name]
        assert (row.licence, row.trained_on, row.image_size) == (licence, trained_on, int(size))
        assert (normalization == "0.5 / 0.5") == (row.normalization[0] == (0.5, 0.5, 0.5))
        assert row.revision.startswith(revision)


@pytest.mark.parametrize("name", ["Ti", "S", "Lite", "Mini", "U-R34", "U-R18", "U-Ti", "U-Lite"])
def test_parameters_and_operations_are_those_of_the_table(name):
    """release_check.py builds the large variants too."""
    rows = re.findall(r"^\| (\S+) \|.*\| ([\d,]+) \| ([\d.]+) \|$", README, re.MULTILINE)
    stated = {row[0]: row[1:] for row in rows}
    assert stated.keys() == tk.VARIANTS.keys()
    assert stated[name] == describe_size(name)


@pytest.mark.release
def test_the_page_on_results_lists_the_rows_of_the_papers_ablations():
    assert "\n".join(list_rows())[1:] in (ROOT / "docs" / "results.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        file, _, _ = target.partition("#")
        assert target.startswith("http") or (page.parent / file).exists(), target
