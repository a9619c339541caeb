"""A training, a resume and a prediction where TensorFlow is not installed, on JAX and PyTorch.

A run that was stopped and resumed ends with the weights of one that was not. CI does so with a
small U-Net, as XLA compiles a TransFuse twice as long; `make release-check` with that, too.
"""

import json
import os
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import cv2
import pytest
from data.files import picture, save

from benchmarks.reliability.runs import TASK

ROOT = Path(__file__).parents[1]
LEFT_OUT = ("tensorflow", "tensorboard", "ai_edge_quantizer")
# a process on PyTorch would end a run on JAX, and it does not know the variant of this test
LEFT_OUT = {"torch": LEFT_OUT, "jax": (*LEFT_OUT, "onnxscript")}
COMMANDS = """
import json
from pathlib import Path
from shutil import copytree, ignore_patterns
from unittest.mock import patch

import numpy as np

from benchmarks.reliability.child import run
from benchmarks.reliability.runs import weights_of
from transfuse_keras.training.callbacks import BeginEpoch

begin = BeginEpoch.on_epoch_begin

def keep_what_a_stop_leaves(self, epoch, logs=None):
    if epoch == 1:
        copytree("whole", "run", ignore=ignore_patterns(".lock"))
        config = json.loads(Path("run/config.json").read_text())
        Path("run/config.json").write_text(json.dumps({**config, "ending": []}))
    begin(self, epoch, logs)

train = ["train", "--task", "task.py", "--limit", 8, "--epochs", 2, "--keep-checkpoints"]
with patch.object(BeginEpoch, "on_epoch_begin", keep_what_a_stop_leaves):
    assert run([*train, "--out", "whole", "--no-export", "--no-report"]) == 0
for arguments in (
    ["train", "--resume", "--out", "run", "--keep-checkpoints"],
    ["predict", "--model", "run", "--input", "a.png", "--out", "masks"],
):
    assert run(arguments) == 0, arguments
ours, theirs, before = (
    weights_of(f"{folder}/checkpoints/epoch-{epoch:04}.keras")
    for folder, epoch in (("run", 2), ("whole", 2), ("whole", 1))
)
assert any((theirs[name] != before[name]).any() for name in theirs)
for name in theirs:
    np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-6, atol=1e-8, err_msg=name)
"""

pytestmark = pytest.mark.slow


def create_environment(venv, left_out):
    """The interpreter of an environment with all packages of this one but those left out."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (packages,) = venv.glob("lib/python*/site-packages")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(left_out):
            (packages / entry.name).symlink_to(entry)
    return venv / "bin" / "python"


@pytest.mark.parametrize("backend", ["jax", "torch"])
@pytest.mark.parametrize(
    "variant", ["smallest-unet", pytest.param("smallest", marks=pytest.mark.release)]
)
def test_a_stopped_training_ends_with_its_weights_and_a_report_and_predicts(
    variant, backend, tmp_path
):
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    environment["PYTHONPATH"] = str(ROOT)
    # XLA compiles for minutes what then computes for seconds. Ti may become nan with this: the
    # maximum over channels is computed twice, rounds otherwise, and its gradient finds no channel
    environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    environment["XLA_FLAGS"] = "--xla_cpu_use_fusion_emitters=false"
    environment["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path)
    if backend == "torch":  # JAX is taken by itself
        environment["KERAS_BACKEND"] = "torch"

    (tmp_path / "task.py").write_text(TASK.replace('"smallest"', f'"{variant}"'))
    save(tmp_path / "a.png", picture(1))
    python = create_environment(tmp_path / "venv", LEFT_OUT[backend])
    program = [python, "-c", COMMANDS]
    done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True)
    said, run = done.stdout + done.stderr, tmp_path / "run"
    assert done.returncode == 0, said[-5000:]
    assert "after epoch 1" in said
    assert "TensorFlow is not installed" in said
    assert (run / "report.html").is_file()
    assert json.loads((run / "metrics.json").read_text())["mean"]["dice"] > 0
    assert not (run / "model.tflite").exists()
    by_torch = backend == "torch" and find_spec("onnxscript") is not None
    assert (run / "model.onnx").exists() == by_torch
    if by_torch:
        assert json.loads((run / "export.json").read_text())["model.onnx"]["mask_dice"] > 0.99
    else:
        assert "transfuse-keras[torch]" in said
    mask = cv2.imread(str(tmp_path / "masks" / "a_pelvis.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == picture(1).shape[:2]
