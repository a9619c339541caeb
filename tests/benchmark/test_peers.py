"""Peers are trained as a run of ours was, and scored on its cases; needs PyTorch."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from transfuse_keras.evaluation.compare import compare, read_case_table
from transfuse_keras.files import read_table
from transfuse_keras.model.losses import StructureLoss
from transfuse_keras.runs.settings import Settings
from transfuse_keras.tasks import Recipe, hip
from transfuse_keras.training.train import train_task

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMALL = replace(
    Recipe("U-Ti", (32, 64), epochs=2, batch_size=8, counts=(8, 2, 3)),
    **{"warm_up": 0.1, "ema": 0.5, "muon": 8.0},
)
STEPS = """
import numpy as np, torch, keras
from torch import nn
from peer_muon import TorchMuon, find_kernels
from transfuse_keras.training.muon import Muon
rng = np.random.default_rng(0)
start, gradients = rng.standard_normal((3, 3, 4, 6)), rng.standard_normal((2, 3, 3, 4, 6))
ours = keras.Variable(start, dtype="float32", name="kernel")
muon = Muon(0.1, kernel_rate=5.0)
body, depthwise, head = nn.Conv2d(4, 6, 3), nn.Conv2d(6, 6, 3, groups=6), nn.Conv2d(6, 3, 1)
theirs = body.weight
theirs.data = torch.tensor(start.transpose(3, 2, 0, 1), dtype=torch.float32)
kernels = find_kernels(nn.Sequential(body, depthwise, head), classes=3)
assert list(kernels) == [theirs]
step = TorchMuon(kernels, 0.1, 5.0).step
for gradient in gradients:
    muon.apply([keras.ops.convert_to_tensor(gradient, "float32")], [ours])
    theirs.grad = torch.tensor(gradient.transpose(3, 2, 0, 1), dtype=torch.float32)
    step()
ours = keras.ops.convert_to_numpy(ours).transpose(3, 2, 0, 1)
np.testing.assert_allclose(theirs.detach().numpy(), ours, atol=1e-5)
"""


def test_their_loss_is_ours(monkeypatch):
    import torch

    monkeypatch.syspath_prepend(BENCHMARKS)
    from plain_transfuse import structure_loss

    rng = np.random.default_rng(0)
    masks = (rng.random((2, 40, 48, 2)) > 0.7).astype("float32")
    logits = rng.standard_normal(masks.shape).astype("float32")
    theirs = structure_loss(*(torch.from_numpy(x.transpose(0, 3, 1, 2)) for x in (logits, masks)))
    ours = np.mean(np.asarray(StructureLoss()(masks, logits)))
    assert float(theirs) == pytest.approx(float(ours), rel=1e-5)


def test_of_classes_that_overlap_nnunet_is_given_regions(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from peer_nnunet import choose_labels, combine

    apart = np.array([[0, 0], [1, 0], [0, 1]], "uint8")
    label, about = choose_labels(("a", "b"), [apart])
    assert label[combine(apart)].tolist() == [0, 1, 2]
    assert about == {"labels": {"background": 0, "a": 1, "b": 2}}
    nested = np.array([[0, 0], [1, 0], [1, 1]], "uint8")  # b lies within a
    label, about = choose_labels(("a", "b"), [nested])
    assert label[combine(nested)].tolist() == [0, 1, 2]
    assert about["labels"] == {"background": 0, "a": [1, 2], "b": [2]}


def test_their_kernels_move_as_ours(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    done = subprocess.run(
        [sys.executable, "-c", STEPS], cwd=BENCHMARKS, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_peer_has_the_cases_of_the_run_and_is_trained_once(tmp_path):
    pytest.importorskip("segmentation_models_pytorch")
    settings = Settings(replace(hip, phantom_recipe=SMALL), threshold="auto")
    run = train_task(settings, tmp_path / "run", export=False, report=False)
    out = tmp_path / "out"
    command = [sys.executable, BENCHMARKS / "peers.py", "--run", run, "--out", out]
    command += ["--peers", "U-Net", "TransFuse-plain"]
    times = []
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        times.append([x.stat().st_mtime_ns for x in sorted(out.rglob("weights.pt"))])
    assert len(times[0]) == 2 and times[0] == times[1]
    for name in ("U-Net", "TransFuse-plain"):
        folder = out / "run" / name
        assert [row["steps"] for row in read_table(folder / "history.csv")] == ["1", "2"]
        assert read_case_table(folder)["groups"] == read_case_table(run)["groups"]
        (dice,) = [x for x in compare(run, folder) if (x["metric"], x["class"]) == ("dice", "mean")]
        assert dice["n"] == 3
        assert f"| {name}" in (out / "peers.md").read_text()
    done = subprocess.run([*command[:-1], "--adam"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    folders = [out / "run" / name for name in ("U-Net", "U-Net by Adam")]
    muon, adam = (read_table(folder / "history.csv") for folder in folders)
    assert muon[0]["loss"] == adam[0]["loss"]  # of the first step, before the weights move
    assert muon[1]["loss"] != adam[1]["loss"]
    assert "| U-Net by Adam" in (out / "peers.md").read_text()
