"""The same weights on TensorFlow and JAX: the same logits, the same training step."""

import os
import subprocess
import sys
from pathlib import Path

import backend_probe
import numpy as np
import pytest
from parity import relative_error

ROOT = Path(__file__).parents[1]


def probe_jax(path):
    """The arrays of backend_probe.py, run in a process with JAX."""
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "backend_probe.py", path],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(np.load(path))


@pytest.mark.release
def test_jax_gives_the_logits_and_the_training_step_of_tensorflow(tmp_path):
    tensorflow, jax = backend_probe.measure(), probe_jax(tmp_path / "jax.npz")
    assert tensorflow.keys() == jax.keys()
    for name, wanted in tensorflow.items():
        if not name.startswith("step/"):
            assert relative_error(jax[name], wanted) < 1e-4, name

    def steps(arrays):
        parts = [array.ravel() for name, array in arrays.items() if name.startswith("step/")]
        return np.concatenate(parts)

    difference = np.linalg.norm(steps(jax) - steps(tensorflow))
    assert difference < 0.01 * np.linalg.norm(steps(tensorflow))
