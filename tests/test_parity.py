"""docs/parity.md is what its command writes."""

import re
from pathlib import Path

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


def test_the_page_names_its_command_and_its_errors_are_small():
    """release_check.py runs the command; tests/weights and test_backends.py assert what it shows"""
    page = (ROOT / "docs" / "parity.md").read_text()
    assert re.search(r"python benchmarks/parity\.py", page)
    rows = errors(page)
    assert len(rows) == 14 and max(max(row) for row in rows.values()) < 1e-4
