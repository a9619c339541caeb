"""What a newcomer does, from a clean checkout: minutes each, run by `make test-all`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
HIP = ROOT.parent / "shared" / "data" / "hip"

pytestmark = pytest.mark.slow


def run(*command, cwd):
    """Run a command without this process' PYTHONPATH; its output on failure."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_main_job_reaches_its_dice_on_unseen_phantoms(tmp_path):
    out = run(sys.executable, ROOT / "train" / "run.py", "--task", "hip", cwd=tmp_path)
    assert "training on phantoms" in out
    metrics = json.loads((tmp_path / "savedmodels" / "hip" / "metrics.json").read_text())
    assert metrics["data"] == "phantom"
    assert metrics["mean"]["dice"] >= 0.90
    exports = json.loads((tmp_path / "savedmodels" / "hip" / "export.json").read_text())
    assert max(row["largest_difference"] for row in exports.values()) < 1e-4


def test_the_same_seed_gives_the_same_result(tmp_path):
    command = [sys.executable, ROOT / "train" / "run.py", "--task", "hip", "--epochs", 1]
    command += ["--image-size", 64, 64, "--limit", 32]
    for _ in range(2):
        run(*command, cwd=tmp_path)
    first, again = (
        json.loads((tmp_path / "savedmodels" / name / "metrics.json").read_text())
        for name in ("hip", "hip-2")
    )
    for metrics in (first, again):
        assert metrics.pop("seconds_per_case") > 0
    assert first == again


def test_a_wheel_trains_in_a_clean_environment(tmp_path):
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", tmp_path, ROOT, cwd=tmp_path)
    (wheel,) = tmp_path.glob("transfuse_keras-*.whl")
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    binaries = tmp_path / "venv" / "bin"
    run(binaries / "pip", "install", "-r", ROOT / "requirements.txt", wheel, cwd=tmp_path)
    arguments = ["--task", "hip", "--epochs", 1, "--image-size", 64, 64]
    run(binaries / "transfuse", "train", *arguments, cwd=tmp_path)
    assert (tmp_path / "savedmodels" / "hip" / "metrics.json").is_file()


@pytest.mark.skipif(not HIP.is_dir(), reason="needs the hip images")
def test_real_slices_are_split_by_patient_and_scored_in_pixels(tmp_path):
    arguments = ["--data", HIP, "--variant", "Ti", "--image-size", 96, 96, "--limit", 128]
    arguments += ["--epochs", 4, "--batch-size", 8, "--lr", 1e-3]
    run(sys.executable, ROOT / "train" / "run.py", "--task", "hip", *arguments, cwd=tmp_path)
    folder = tmp_path / "savedmodels" / "hip"
    lines = [line.split(",") for line in (folder / "split.csv").read_text().splitlines()[1:]]
    patients = {part: {row[1] for row in lines if row[0] == part} for part in ("train", "test")}
    assert len(patients["test"]) == 3 and not patients["train"] & patients["test"]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["unit"] == "px" and {"hd_px", "assd_px"} < set(metrics["mean"])
    assert metrics["mean"]["dice"] > 0.1


def test_the_notebook_runs_from_top_to_bottom():
    notebook = nbformat.read(ROOT / "notebooks" / "quickstart.ipynb", as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": ROOT}}).execute()
