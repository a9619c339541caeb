"""The ONNX file that PyTorch writes: the same model, and named as that of TensorFlow."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from lively import pictures

from transfuse_keras import commands
from transfuse_keras.cli import main
from transfuse_keras.export import onnx_files
from transfuse_keras.inference import runtimes
from transfuse_keras.training import train

ROOT, SIZE = Path(__file__).parents[2], (32, 48)
WRITE = """
import numpy as np
from conftest import SMALLEST
from lively import lively, pictures

from transfuse_keras.export.onnx_files import export_onnx
from transfuse_keras.inference.predictor import as_predictor

model = lively(SMALLEST, (32, 48, 3), 3)
np.save("maps.npy", as_predictor(model).run(pictures(3, (32, 48))))
export_onnx(model, "model.onnx")
"""


@pytest.mark.slow
def test_the_file_is_the_model_for_one_image_or_several(tmp_path):
    for package in ("torch", "onnxscript"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    import onnx

    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    environment = {**os.environ, "KERAS_BACKEND": "torch", "PYTHONPATH": paths}
    program = [sys.executable, "-c", WRITE]
    done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not done.stdout + done.stderr
    assert {file.name for file in tmp_path.iterdir()} == {"maps.npy", "model.onnx"}
    graph = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(graph, full_check=True)
    assert {node.domain for node in graph.graph.node} <= {"", "ai.onnx"}
    for (value,), name in ((graph.graph.input, "image"), (graph.graph.output, "probabilities")):
        batch, *shape = value.type.tensor_type.shape.dim
        assert (value.name, batch.dim_param) == (name, "batch")
        assert [axis.dim_value for axis in shape] == [*SIZE, 3]
    images, wanted = pictures(3, SIZE), np.load(tmp_path / "maps.npy")
    assert np.ptp(wanted) > 0.5
    run = runtimes.onnx(tmp_path / "model.onnx")[1]
    np.testing.assert_allclose(run(images), wanted, atol=1e-4)
    np.testing.assert_allclose(run(images[:1]), wanted[:1], atol=1e-4)


def without_tensorflow(monkeypatch, backend, *missing):
    """As if Keras computed with `backend` where TensorFlow and `missing` are not installed."""
    for module in (commands, train):
        monkeypatch.setattr(module, "has_tensorflow", lambda: False)
    monkeypatch.setattr(commands, "backend", lambda: backend)
    monkeypatch.setattr(commands, "find_spec", lambda name: None if name in missing else name)
    monkeypatch.setattr(train, "find_missing_for_onnx", lambda: list(missing))


@pytest.mark.parametrize(
    ("names", "missing", "exporter"),
    [
        (["onnx", "triton"], (), "torch"),
        (["onnx", "litert"], (), "tensorflow"),
        (["onnx"], ("torch",), "tensorflow"),
    ],
)
def test_a_process_on_pytorch_exports_what_it_can(names, missing, exporter, tmp_path, monkeypatch):
    without_tensorflow(monkeypatch, "jax", *missing)
    asked = []
    monkeypatch.setattr(train, "run_by", lambda *given: asked.append(given) or 3)
    given = ["export", "--model", str(tmp_path), "--format", *names, "--quantize", "none"]
    assert main(given) == 3 and asked == [(exporter, given)]


def test_a_missing_package_is_told_at_the_end_of_a_run_and_by_an_export(tmp_path, monkeypatch):
    without_tensorflow(monkeypatch, "torch", "onnxscript")
    first, second = train.describe_left_out(tmp_path).splitlines()
    assert "--format saved_model litert" in first
    assert second.startswith("onnxscript is not installed") and "--format onnx" in second
    without_tensorflow(monkeypatch, "torch")
    assert train.describe_left_out(tmp_path) == first
    monkeypatch.setattr(onnx_files.keras.backend, "backend", lambda: "torch")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(onnx_files.InputError, match=r"^onnxscript .*\[torch\]"):
        onnx_files.export_onnx(None, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
