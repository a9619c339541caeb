"""What a release has to pass besides the tests: `make release-check`, an hour on two cores."""

import json
import re
import subprocess
import sys
import tomllib
import zipfile

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from test_install import ROOT, build_wheel, run
from test_parity import errors
from test_readme import README

from benchmarks.size import describe_size

pytestmark = pytest.mark.release
TOOLS = ROOT / ".venv" / "release" / "bin"
TESTS = ["tests/test_usage.py", "tests/inference", "tests/data"]
# what the oldest imagecodecs cannot write for the test, and what the oldest Pillow refuses
TOO_NEW = (
    "test_dicom.py::test_compressed_images",
    "test_readers.py::test_colours_that_transparency_has_darkened_are_what_they_were[2]",
)
NEEDED = ("pytest", "tifffile", "pycocotools", "dicom3tools", "dcmqi")  # by these tests


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


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_an_installation_without_tensorflow_trains_ti_from_phantoms_to_a_report(backend, tmp_path):
    wheel = build_wheel(tmp_path)
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    binaries = tmp_path / "venv" / "bin"
    run(binaries / "pip", "install", f"{wheel}[{backend}]", cwd=tmp_path)
    assert "tensorflow" not in run(binaries / "pip", "list", cwd=tmp_path)
    size = ["--image-size", 64, 64, "--limit", 16, "--epochs", 1]
    run(
        *(binaries / "transfuse", "train", "--task", "hip", "--variant", "Ti", *size),
        cwd=tmp_path,
        KERAS_BACKEND=backend,
    )
    folder = tmp_path / "savedmodels" / "hip"
    assert (folder / "report.html").is_file()
    assert json.loads((folder / "metrics.json").read_text())["mean"]["dice"] > 0
    assert (folder / "model.onnx").is_file() == (backend == "torch")  # its extra has what it needs
    predict = ["predict", "--model", folder, "--input", folder / "live.png", "--out", "masks"]
    run(binaries / "transfuse", *predict, cwd=tmp_path, KERAS_BACKEND=backend)
    assert list((tmp_path / "masks").glob("*.png"))


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
    assert len(rows) == 11
    for name, *stated in rows:
        assert tuple(stated) == describe_size(name)


def test_wheel_and_sdist_pass_the_checks_of_twine(tmp_path):
    run(TOOLS / "python", "-m", "build", "--outdir", tmp_path, ROOT, cwd=tmp_path)
    (sdist,), (wheel,) = tmp_path.glob("*.tar.gz"), tmp_path.glob("*.whl")
    run(TOOLS / "twine", "check", "--strict", sdist, wheel, cwd=tmp_path)
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    pip = [tmp_path / "venv" / "bin" / "python", "-m", "pip"]
    run(*pip, "install", "--no-deps", sdist, cwd=tmp_path)  # it has all that it needs


@pytest.mark.parametrize(
    "lock, python", [("oldest", "3.11"), *(("newest", x) for x in ("3.11", "3.12", "3.13"))]
)
def test_the_oldest_and_the_newest_dependencies_do(lock, python, tmp_path):
    uv, project = TOOLS / "uv", tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = subprocess.run([uv, "python", "find", "--no-python-downloads", python])
    if found.returncode:
        pytest.skip(f"Python {python} is not here")
    run(uv, "venv", "--quiet", "--python", python, tmp_path / "venv", cwd=tmp_path)
    pins = [x for x in project["optional-dependencies"]["test"] if Requirement(x).name in NEEDED]
    inside = tmp_path / "venv" / "bin" / "python"
    locked = ["-r", ROOT / "requirements" / f"{lock}.txt"]
    run(uv, "pip", "install", "--quiet", "--python", inside, *locked, *pins, cwd=tmp_path)
    fast = ["-m", "not slow and not release", "-p", "no:cacheprovider"]
    if lock == "oldest":
        fast += [word for test in TOO_NEW for word in ("--deselect", f"tests/data/{test}")]
    run(inside, "-m", "pytest", *fast, *TESTS, cwd=ROOT)


def test_the_bill_of_materials_names_the_locked_versions_and_their_licences():
    run("make", "sbom", cwd=ROOT)
    bill = json.loads((ROOT / "dist" / "sbom.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "transfuse-keras"
    listed = {canonicalize_name(x["name"]): x for x in bill["components"]}
    for line in (ROOT / "requirements" / "newest.txt").read_text().splitlines():
        locked = Requirement(line) if line[0].isalnum() else None
        if locked and (locked.marker is None or locked.marker.evaluate()):
            assert str(locked.specifier) == f"=={listed[locked.name]['version']}"
    assert sum("licenses" in x for x in listed.values()) > 0.9 * len(listed)


def test_the_citation_file_is_valid(tmp_path):
    """By the schema that cffconvert brings; the program itself wants older libraries."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    run(*pip, "--dest", tmp_path, "cffconvert==2.0.0", cwd=tmp_path)
    with zipfile.ZipFile(next(tmp_path.iterdir())) as wheel:
        wheel.extract("cffconvert/schemas/1.2.0/schema.json", tmp_path)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    (tmp_path / "citation.json").write_text(json.dumps(citation))
    schema = tmp_path / "cffconvert" / "schemas" / "1.2.0" / "schema.json"
    run(TOOLS / "python", "-m", "jsonschema", "-i", "citation.json", schema, cwd=tmp_path)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert citation["version"] == version
