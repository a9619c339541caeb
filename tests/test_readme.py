"""What the README claims, run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_the_ten_lines_of_api_run(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.rstrip().endswith("mm")
    assert (tmp_path / "hip.keras").is_file()


@pytest.mark.slow
def test_parameters_and_operations_are_those_of_the_table():
    out = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "size.py"], capture_output=True, text=True
    ).stdout
    measured = dict(re.findall(r"(\S+): ([\d,]+ parameters, [\d.]+) GFLOP", out))
    rows = re.findall(r"^\| (\S+) \|.*\| ([\d,]+) \| ([\d.]+) \|$", README, re.MULTILINE)
    assert len(rows) >= 2
    for name, parameters, gflops in rows:
        assert measured[name] == f"{parameters} parameters, {gflops}"


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target
