"""What the README and docs/ claim, run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from transfuse_keras.training.ablation import list_rows
from transfuse_keras.weights import PUBLISHED

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = (ROOT / "README.md").read_text()
DATA = (ROOT / "docs" / "data.md").read_text()
EVALUATION = (ROOT / "docs" / "evaluation.md").read_text()
PRECISION = (ROOT / "docs" / "precision.md").read_text()
WEIGHTS = (ROOT / "docs" / "weights.md").read_text()


def run_code(page, folder):
    """Run a page's Python blocks as one script in `folder`; what it printed."""
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_the_ten_lines_of_api_run(tmp_path):
    assert run_code(README, tmp_path).rstrip().endswith("mm")
    assert (tmp_path / "hip.keras").is_file()


def test_the_page_on_data_runs(tmp_path):
    assert run_code(DATA, tmp_path).splitlines()[-1] == "(16, 96, 128, 3) (16, 96, 128, 1)"


def test_the_page_on_scores_runs(tmp_path):
    score, distance = map(float, run_code(EVALUATION, tmp_path).split())
    assert score == pytest.approx(2 * 18 * 20 / (400 + 18 * 24)) and distance == pytest.approx(1.6)


def test_the_page_on_precision_runs(tmp_path):
    assert run_code(PRECISION, tmp_path).split() == ["bfloat16", "float32"]


@pytest.mark.slow
def test_the_page_on_weights_runs(tmp_path):
    printed = run_code(WEIGHTS, tmp_path)
    assert printed.count("skip_heads=True") == 2
    assert "resnet.conv1.weight: made for RGB, adapted to 1 channels." in printed


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


@pytest.mark.slow
def test_parameters_and_operations_are_those_of_the_table():
    out = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "size.py"], capture_output=True, text=True
    ).stdout
    measured = dict(re.findall(r"(\S+): ([\d,]+ parameters, [\d.]+) GFLOP", out))
    rows = re.findall(r"^\| (\S+) \|.*\| ([\d,]+) \| ([\d.]+) \|$", README, re.MULTILINE)
    assert len(rows) == 5
    for name, parameters, gflops in rows:
        assert measured[name] == f"{parameters} parameters, {gflops}"


@pytest.mark.slow
def test_the_page_on_results_lists_the_rows_of_the_papers_ablations():
    assert "\n".join(list_rows())[1:] in (ROOT / "docs" / "results.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert target.startswith("http") or (page.parent / target).exists(), target
