"""docs/parity.md is what its command writes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def errors(page):
    """(model, input) -> the errors of its row."""
    rows = [line.strip("| \n").split(" | ") for line in page.splitlines() if "e-0" in line]
    return {
        tuple(cell for cell in row if "e-0" not in cell): [
            float(cell) for cell in row if "e-0" in cell
        ]
        for row in rows
    }


@pytest.mark.slow
def test_the_page_is_what_its_command_writes(tmp_path):
    page = (ROOT / "docs" / "parity.md").read_text()
    assert re.search(r"python benchmarks/parity\.py", page)
    command = [sys.executable, ROOT / "benchmarks" / "parity.py", tmp_path / "parity.md"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    stated, found = errors(page), errors((tmp_path / "parity.md").read_text())
    assert stated.keys() == found.keys() and len(found) == 14
    # the last digits are the machine's, the order of magnitude is not
    for model, row in found.items():
        for error, claimed in zip(row, stated[model], strict=True):
            assert error < min(1e-4, 10 * claimed), model
