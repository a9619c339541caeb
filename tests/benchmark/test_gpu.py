"""benchmarks/gpu.py in small: a part runs in its process, and what it found is in the file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.mark.slow
def test_a_part_is_measured_on_a_cpu(tmp_path):
    pytest.importorskip("jax")
    options = ["--small", "--minutes", "5", "--out", tmp_path]
    command = [sys.executable, SCRIPT, *options, "--only", "e"]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    found = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert list(found) == ["machine", "e: input pipeline"]
    assert min(found["e: input pipeline"].values()) > 0  # images a second
