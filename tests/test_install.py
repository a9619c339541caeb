"""The package as others get it: a wheel, outside the clone. The rest is in release_check.py."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import nbformat
import pytest
from data.files import picture, save

from notebooks.execute import execute
from transfuse_keras import __version__

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def run(*command, cwd, **environment):
    """What a command prints, without this process' PYTHONPATH; the end of it on failure."""
    environment |= {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", *environment)}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def build_wheel(folder):
    """The package as a wheel in `folder`."""
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, ROOT, cwd=folder)
    (wheel,) = folder.glob("transfuse_keras-*.whl")
    return wheel


def test_a_wheel_predicts_and_reports_outside_the_clone(reference, tmp_path):
    """In an environment that sees the packages of this one, but not the clone."""
    pip, venv = [sys.executable, "-m", "pip"], tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=tmp_path)
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "outer.pth").write_text(sysconfig.get_path("purelib"))
    inside = [*pip, "--python", venv / "bin" / "python"]
    run(*inside, "install", "--no-deps", build_wheel(tmp_path), cwd=tmp_path)
    run(*inside, "check", cwd=tmp_path)

    model, image, program = tmp_path / "run", tmp_path / "a.png", venv / "bin" / "transfuse"
    shutil.copytree(reference[1], model)
    page = model / "report.html"
    page.unlink()
    run(program, "report", model, cwd=tmp_path)  # by the template in the wheel
    assert (packages / "transfuse_keras" / "evaluation" / "report.html").is_file()
    assert page.is_file()
    save(image, picture(1))
    model /= "model.tflite"  # the variant of the .keras file is known to tests only
    run(program, "predict", "--model", model, "--input", image, "--out", "masks", cwd=tmp_path)
    assert (tmp_path / "masks" / "a_pelvis.png").is_file()


def kinds(cell):
    """What a cell shows: the types of its outputs, without the log on stderr."""
    outputs = [x for x in cell.get("outputs", ()) if x.get("name") != "stderr"]
    return [sorted(x["data"]) if "data" in x else x["name"] for x in outputs]


@pytest.mark.parametrize("name", ["quickstart", "own_data"])
def test_a_notebook_runs_and_what_it_shows_is_of_this_version(name):
    path = ROOT / "notebooks" / f"{name}.ipynb"
    stored, ran = nbformat.read(path, as_version=4), execute(path)
    for before, now in zip(stored.cells, ran.cells, strict=True):
        assert kinds(before) == kinds(now), before.source
    shown = [x.data["text/plain"] for x in stored.cells[1].outputs if "data" in x]
    assert shown == [repr(__version__)]
    assert any("image/png" in x for cell in stored.cells for x in kinds(cell))
