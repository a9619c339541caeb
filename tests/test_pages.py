"""The shell blocks of README.md and docs/, run: each command in a folder that has what it names."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pytest
from conftest import SMALLEST, SMALLEST_UNET
from data.files import binary_folder, dicom_image, hip_folder, picture, save, series_folder
from data.test_dicom_masks import write_seg
from pages import PAGES, ROOT, py_block, shell_lines

import transfuse_keras as tk
from transfuse_keras.cli import main
from transfuse_keras.model.variants import VARIANTS
from transfuse_keras.tasks import hip
from transfuse_keras.training import cross_validation, planning, train

HIP = ROOT / "docs" / "models" / "hip" / "model-int8.tflite"
PYTHON = ("python", ".venv/bin/python")
RUNS = ("RUN", "RUN_A", "RUN_B", "RUN_0", "UNET", "OUT/RUN_0/U-Net", "savedmodels/NAME")
RUNS += (*(f"{kind}_{seed}" for kind in "SU" for seed in (0, 1, 2)), "S_ALL", "U_ALL")
OURS = ("benchmarks", "docs", "edge", "examples")  # folders of the repository
SHORT = ["--recipe", "scratch", "--epochs", "1", "--limit", "8"]
SHORT += ["--image-size", "32", "32", "--no-export"]
LEFT = {  # how commands begin that are not run here -> why
    "make ": "hours, or what runs this",
    "pip install": "a network; test_install.py and release_check.py install",
    "python3 -m venv": "a network; test_edge.py installs so",
    ".venv/bin/pip install": "a network; test_edge.py installs so",
    "scp ": "a device",
    "docker ": "docker; test_serving.py runs what is asked of the container",
    "curl ": "a server, see the line before",
    "tritonserver ": "a Triton server; test_triton.py reads its folder",
    "mkdir -p models/hip": "for a container",
    "cp -r RUN/saved_model models/hip/1": "for a container",
    "export KERAS_BACKEND": "of a script of Slurm",
    "export JAX_COMPILATION_CACHE_DIR": "no command of ours",
    "srun ": "a cluster; test_hosts.py and test_commands.py have its tasks in one process",
    "KERAS_BACKEND=jax ": "a cluster; test_distributed_training.py trains in two processes",
    "KERAS_BACKEND=torch torchrun": "PyTorch; test_distributed_training.py, test_torchrun.py",
    "first=$(scontrol": "of a script of Slurm",
    "hosts=$(scontrol": "of a script of Slurm",
    "export CLUSTER": "of a script of Slurm",
    "XLA_FLAGS=": "no command, but how one is begun",
    "transfuse ablate": "builds large models; test_ablation.py, test_readme.py for a release",
    "transfuse benchmark": "processes of each format for a minute; test_benchmark.py",
    "transfuse evaluate --merge scores": "the shards of a cluster; test_commands.py",
    "transfuse export --model RUN --format litert onnx": "minutes; test_formats.py",
    "transfuse evaluate --model S_0 S_1 S_2": "three trainings; test_ensemble.py",
    "transfuse export --model RUN --format onnx": "a conversion; test_formats.py",
    "transfuse export --model RUN --format saved_model": "minutes; test_serving.py",
    "transfuse export --model RUN --format triton": "test_triton.py",
    "transfuse export --model RUN --format web": "the npm registry; test_web.py",
    "transfuse export --model hip --format web": "the npm registry; test_web.py",
    "transfuse node": "a PACS; test_node.py, test_node_orthanc.py",
    "transfuse predict --model RUN --input camera:0": "a camera; test_video.py",
    "transfuse push --model RUN --repo": "the hub; test_push.py has one on the loopback",
    "transfuse serve": "does not end; test_serve.py",
    "transfuse train --help": "leaves Python; test_cli.py",
    "transfuse train --resume --task hip": "a run that was killed; test_resume.py",
    "python -m http.server": "does not end",
    "python benchmarks/gpu.py": "a GPU, or minutes; test_gpu.py",
    "python benchmarks/peers.py": "trains three models; test_peers.py",
    "python benchmarks/devices.py": "minutes",
    "python benchmarks/pretrain.py": "half an hour of training",
    "python benchmarks/scratch.py": "hours of trainings",
    "python benchmarks/recipe_trials.py": "an hour of trainings; test_recipe_trials.py",
    "python benchmarks/augmentation_trials.py": "an hour of trainings",
    "python benchmarks/scaling.py": "minutes",
    "python docs/models/make.py": "trains for minutes",
    "python examples/ray_predict.py": "Ray; test_commands.py for a release",
    ".venv/bin/python transfuse_edge.py model.tflite --camera": "a camera; test_edge.py",
}


def is_left(words):
    return " ".join(words).startswith(tuple(LEFT))


def commands(page):
    return [words for words in shell_lines(page) if not is_left(words)]


@pytest.fixture(scope="module")
def run(reference, tmp_path_factory):
    """A copy of the small run, in which commands may write."""
    folder = tmp_path_factory.mktemp("pages") / "run"
    shutil.copytree(reference[1], folder, ignore=shutil.ignore_patterns("checkpoints"))
    shutil.copyfile(folder / "cases.csv", folder / "cases-uncut.csv")  # of a run with sure classes
    return folder


@pytest.fixture
def no_training(monkeypatch):
    """Trainings are begun by the command line, and stop where the first image would be read."""
    monkeypatch.setattr(train, "train_task", lambda *_, **__: Path("RUN"))
    monkeypatch.setattr(cross_validation, "cross_validate", lambda *_: None)


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(VARIANTS, "smallest", SMALLEST)  # of the run
    monkeypatch.setattr(planning, "can_fetch", lambda names: False)


def provide(words, page, run):
    """Make what a command reads. Returns: the paths."""
    made = []
    for before, name in zip(words, words[1:], strict=False):
        path, make = find_maker(name, run)
        if make and path not in made and (before != "--out" or "--resume" in words):
            remove(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            make(path, words, page)
            made.append(path)
    return made


def find_maker(name, run):
    """(path, function that makes it) of a word of a command; (path, None) if it is not read."""
    path, top = Path(name), Path(Path(name).parts[0])
    if name in RUNS or top.name == "RUN":
        return path if name in RUNS else top, lambda path, *_: path.symlink_to(run)
    if top.name in OURS:
        return top, lambda path, *_: path.symlink_to(ROOT / path)
    return path, MAKERS.get(name)


def remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def make_data(path, words, _):
    """Images and masks as the task or the model of the command wants them."""
    if {"polyp", "skin"} & set(words):
        binary_folder(path, "abcdefghij")
    else:
        hip_folder(path)


def make_files(path, _, page):
    path.mkdir()
    if page.parent.name == "hippocampus":  # whose model takes volumes
        values = np.random.default_rng(0).normal(100, 20, (24, 20, 5)).astype("float32")
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path / "a.nii.gz")
    else:
        make_image(path / "a.png")


def make_image(path, *_):
    save(path, picture(1))


def make_film(path, *_):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (48, 32))
    for i in range(3):
        writer.write(np.full((32, 48, 3), 60 * i, "uint8"))
    writer.release()


def make_export(path, *_):
    """Radiographs of six patients, each with a SEG."""
    rng = np.random.default_rng(0)
    masks = np.zeros((1, 30, 40, 3), "uint8")
    for k in range(3):
        masks[0, 8 * k : 8 * k + 6, 4:30, k] = 1
    for i in range(6):
        pixels = rng.integers(0, 256, masks.shape[1:3], dtype="uint8")
        image = dicom_image(path / f"{i}.dcm", pixels, PatientID=f"P{i}")
        write_seg(path / "seg" / f"{i}.dcm", [image], masks, hip.classes)


def make_model(path, _, page):
    own = page.parent / HIP.name
    model = own if own.is_file() else HIP
    for ending in ("", ".json"):
        remove(Path(f"{path}{ending}"))
        Path(f"{path}{ending}").symlink_to(f"{model}{ending}")


MAKERS = {
    "DIR": make_data,
    "TestDataset": lambda path, *_: [hip_folder(path / x) for x in ("clinic A", "clinic B")],
    "FILES": make_files,
    **dict.fromkeys(("image.jpg", "photo.jpg", "photo.png"), make_image),
    "film.mp4": make_film,
    "STUDY": lambda path, *_: series_folder(path),
    "EXPORT_OF_THE_PACS": make_export,
    **dict.fromkeys(("model.tflite", "model-int8.tflite"), make_model),
    "transfuse_edge.py": lambda path, *_: path.symlink_to(ROOT / "edge" / path),
}


def do(words):
    """Run a command. Returns: its exit code."""
    if words[0] == "transfuse":
        return main(words[1:])
    assert words[0] in PYTHON, words
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *words[1:]], env=environment).returncode


def do_all(page, run, also=lambda words: []):
    for words in commands(page):
        made = provide(words, page, run)
        assert do([*words, *also(words)]) == 0, " ".join(words)
        for path in made:
            remove(path)


OTHERS = [x for x in PAGES if commands(x) and x.name != "coming-from.md"]


@pytest.mark.slow
@pytest.mark.parametrize("page", OTHERS, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_run(page, run, no_training):
    do_all(page, run)


@pytest.mark.slow
def test_the_lines_of_python_on_your_own_data_run(run, no_training):
    page = ROOT / "docs" / "own-data.md"
    provide(["", "RUN", "DIR", "photo.png"], page, run)
    names = {"tk": tk}
    exec(py_block(page), names)
    assert names["masks"].shape == (*picture(1).shape[:2], 3)
    assert names["run"].report.is_file()


@pytest.mark.slow
def test_the_commands_for_users_of_other_libraries_run(run, monkeypatch):
    """Trainings, too, with the smallest networks and a single epoch."""
    for name in ("S", "U-R34"):
        monkeypatch.setitem(VARIANTS, name, SMALLEST_UNET)

    def shorten(words):
        if words[1] != "train":
            return []
        return SHORT if "--variant" in words else [*SHORT, "--variant", "S"]

    do_all(ROOT / "docs" / "coming-from.md", run, shorten)


def test_every_reason_is_that_of_a_command_and_names_tests_that_exist():
    lines = [" ".join(words) for page in PAGES for words in shell_lines(page)]
    assert not [begin for begin in LEFT if not any(line.startswith(begin) for line in lines)]
    named = {name for reason in LEFT.values() for name in re.findall(r"\w+\.py", reason)}
    assert named <= {path.name for path in (ROOT / "tests").rglob("*.py")}
