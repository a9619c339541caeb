"""What a release has to pass besides the tests: `make release-check`, an hour on two cores."""

import json
import re
import subprocess
import sys

import pytest
from test_install import ROOT, build_wheel, run
from test_parity import errors
from test_readme import README

from benchmarks.size import describe_size

pytestmark = pytest.mark.release


def test_the_main_job_reaches_its_dice_on_unseen_phantoms(tmp_path):
    out = run(sys.executable, ROOT / "train" / "run.py", "--task", "hip", cwd=tmp_path)
    assert "training on phantoms" in out
    metrics = json.loads((tmp_path / "savedmodels" / "hip" / "metrics.json").read_text())
    assert metrics["data"] == "phantom"
    assert metrics["mean"]["dice"] >= 0.90
    exports = json.loads((tmp_path / "savedmodels" / "hip" / "export.json").read_text())
    assert max(row["largest_difference"] for row in exports.values()) < 1e-4


def test_a_wheel_trains_in_a_clean_environment(tmp_path):
    wheel = build_wheel(tmp_path)
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    binaries = tmp_path / "venv" / "bin"
    run(
        binaries / "pip",
        "install",
        "-r",
        ROOT / "requirements.txt",
        f"{wheel}[tensorflow]",
        cwd=tmp_path,
    )
    arguments = ["--task", "hip", "--epochs", 1, "--image-size", 64, 64]
    run(binaries / "transfuse", "train", *arguments, cwd=tmp_path)
    assert (tmp_path / "savedmodels" / "hip" / "metrics.json").is_file()


def test_the_page_on_parity_is_what_its_command_writes(tmp_path):
    command = [sys.executable, ROOT / "benchmarks" / "parity.py", tmp_path / "parity.md"]
    subprocess.run(command, check=True)
    stated = errors((ROOT / "docs" / "parity.md").read_text())
    found = errors((tmp_path / "parity.md").read_text())
    assert stated.keys() == found.keys()
    # the last digits are the machine's, the order of magnitude is not
    for model, row in found.items():
        for error, claimed in zip(row, stated[model], strict=True):
            assert error < min(1e-4, 10 * claimed), model


def test_hundreds_of_damaged_files_of_each_kind():
    command = [sys.executable, "-m", "benchmarks.reliability.fuzz", "--count", "400"]
    assert subprocess.run(command, cwd=ROOT).returncode == 0


def test_parameters_and_operations_of_all_variants_are_those_of_the_readme():
    rows = re.findall(r"^\| (\S+) \|.*\| ([\d,]+) \| ([\d.]+) \|$", README, re.MULTILINE)
    assert len(rows) == 5
    for name, *stated in rows:
        assert tuple(stated) == describe_size(name)
