import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from transfuse_keras import metrics
from transfuse_keras.errors import InputError

ROOT = Path(__file__).parents[2]
KINDS = [(metrics.DiceScore, metrics.dice), (metrics.IoUScore, metrics.iou)]
both_kinds = pytest.mark.parametrize(("kind", "score"), KINDS)


def images(count=7, classes=3):
    """Truth (N, 8, 9, M) of 0/1, logits and weights; class 1 lacks in some, the last in all."""
    rng = np.random.default_rng(0)
    truth = rng.random((count, 8, 9, classes)) > 0.6
    truth[2:5, ..., 1] = False
    truth[..., -1] = False
    logits = (rng.standard_normal(truth.shape) + truth).astype("float32")
    return truth.astype("uint8"), logits, rng.uniform(0.1, 3, count)


def by_numpy(score, truth, logits, weights):
    """Weighted mean over the images with the class, then over the classes that occur."""
    means = []
    for k in range(truth.shape[-1]):
        cases = [i for i in range(len(truth)) if truth[i, ..., k].any()]
        if cases:
            scores = [score(truth[i, ..., k], logits[i, ..., k] >= 0) for i in cases]
            means.append(np.average(scores, weights=weights[cases]))
    return pytest.approx(np.mean(means), rel=0, abs=1e-6)


@both_kinds
@pytest.mark.parametrize("batches", [[7], [3, 4], [1, 5, 1], [2, 0, 5]])
@pytest.mark.parametrize("weighted", [False, True])
def test_any_batches_give_the_mean_over_images_with_the_class(kind, score, batches, weighted):
    truth, logits, weights = images()
    metric = kind(classes=3)
    for stop, size in zip(np.cumsum(batches), batches, strict=True):
        part = slice(stop - size, stop)
        metric.update_state(truth[part], logits[part], weights[part] if weighted else None)
    wanted = by_numpy(score, truth, logits, weights if weighted else np.ones(7))
    assert float(metric.result()) == wanted


@both_kinds
def test_reset_forgets(kind, score):
    truth, logits, weights = images()
    metric = kind(classes=3)
    assert float(metric.result()) == 0
    metric.update_state(truth[:4], logits[:4])
    metric.reset_state()
    assert float(metric.result()) == 0
    metric.update_state(truth[4:], logits[4:], weights[4:])
    assert float(metric.result()) == by_numpy(score, truth[4:], logits[4:], weights[4:])


@both_kinds
def test_logit_0_is_predicted_and_weights_weigh(kind, score):
    truth = np.ones((2, 4, 4, 1))
    logits = np.stack([np.zeros((4, 4, 1)), -np.ones((4, 4, 1))])  # scores 1 and 0
    metric = kind()
    metric.update_state(truth, logits, sample_weight=np.array([3.0, 1.0]))
    assert float(metric.result()) == pytest.approx(0.75)


@both_kinds
def test_comes_back_from_its_config(kind, score):
    metric = kind(classes=3, name="other")
    again = kind.from_config(metric.get_config())
    loaded = keras.metrics.deserialize(keras.metrics.serialize(metric))
    for copy in (again, loaded):
        assert type(copy) is kind
        assert copy.get_config() == metric.get_config()
        assert copy.name == "other" and copy.classes == 3


@both_kinds
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_logits_of_any_precision(kind, score, dtype):
    truth, logits, weights = images()
    logits = keras.ops.cast(logits, dtype)
    metric = kind(classes=3)
    metric.update_state(keras.ops.cast(truth, dtype), logits, weights)
    cast = keras.ops.convert_to_numpy(keras.ops.cast(logits, "float32"))
    assert float(metric.result()) == by_numpy(score, truth, cast, weights)


@both_kinds
def test_large_images_are_counted_in_full_under_mixed_precision(kind, score):
    truth = np.ones((1, 300, 300, 1))  # more pixels than float16 can count
    logits = np.where(np.arange(300) < 100, 1, -1)[:, None] * truth[..., :1, :].astype("float16")
    keras.config.set_dtype_policy("mixed_float16")
    try:
        metric = kind(dtype="mixed_float16")
        metric.update_state(truth, np.broadcast_to(logits, truth.shape))
        wanted = score(truth, np.broadcast_to(logits, truth.shape) >= 0)
        assert float(metric.result()) == pytest.approx(wanted)
    finally:
        keras.config.set_dtype_policy("float32")


def test_two_replicas_give_the_result_of_one(tmp_path):
    truth, logits, weights = images()
    np.savez(tmp_path / "in.npz", truth=truth, logits=logits, weights=weights)
    probe = subprocess.run(
        [sys.executable, Path(__file__).with_name("replica_probe.py"), tmp_path / "in.npz"],
        env={**os.environ, "KERAS_BACKEND": "tensorflow", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert probe.returncode == 0, probe.stderr[-3000:]
    direct, evaluated = json.loads(probe.stdout.splitlines()[-1])
    for value, (kind, score) in zip(direct, KINDS, strict=True):
        wanted = by_numpy(score, truth, logits, weights)
        assert value == wanted
        assert evaluated[kind().name] == wanted


def test_a_metric_for_another_number_of_classes_says_which():
    truth, logits, _ = images()
    with pytest.raises(InputError, match=r"classes=1, but the model has 3 maps; give DiceScore"):
        metrics.DiceScore()(truth, logits)
