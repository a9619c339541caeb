"""One epoch on a part of each real folder from one command, with the smallest network."""

import json

import nibabel
import numpy as np
import pytest
from conftest import SMALLEST_UNET
from tasks.test_tasks import REAL, ROOT

from transfuse_keras.cli import main
from transfuse_keras.data.splits import find_splits
from transfuse_keras.evaluation.evaluate import evaluate
from transfuse_keras.evaluation.statistics import summarize
from transfuse_keras.inference.predictor import Predictor, load_predictor
from transfuse_keras.model.variants import VARIANTS
from transfuse_keras.tasks import find_task, hip


@pytest.mark.skipif(not REAL.is_dir(), reason="the real images are elsewhere")
def test_a_model_that_predicts_nothing_scores_zero_on_the_hip_folder():
    """Half of the slices show no femur: a wrong rule for empty masks would reward it for them."""
    blind = Predictor((64, 64), 3, 3, lambda images: np.zeros(images.shape, "float32"))
    samples = find_splits(hip, REAL / "hip")["test"]
    summary = summarize(evaluate(blind, samples, hip).rows)
    assert summary["mean"]["dice"] == summary["mean"]["iou"] == summary["mean"]["recall"] == 0
    assert all(scores["dice"] == 0 for scores in summary["classes"].values())
    assert all(scores["n"] < len(samples) for scores in list(summary["classes"].values())[1:])
    assert np.isnan(summary["mean"]["hd_px"])
    assert summary["undefined"]["left_femur"]["hd_px"] == len(samples)


def take_every(step, data, folder):
    """A folder with links to every `step`-th case of a data set, and with lists of these alone."""

    def stem(path):
        return path.name.partition(".")[0]

    files = sorted(path for path in data.rglob("*") if path.is_file())
    left = sorted({stem(path) for path in files if path.suffix not in (".txt", ".json")})
    kept = set(left[::step])
    for path in files:
        new = folder / path.relative_to(data)
        new.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".txt":
            lines = path.read_text().splitlines()
            new.write_text("\n".join(x for x in lines if x in kept))
        elif path.suffix == ".json":
            content = json.loads(path.read_text())
            pairs = [x for x in content["training"] if stem(path / x["image"]) in kept]
            new.write_text(json.dumps({**content, "training": pairs}))
        elif stem(path) in kept:
            new.symlink_to(path)
    return folder


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the real images are elsewhere")
@pytest.mark.parametrize(
    ("name", "step"),
    [
        *(("polyp", 12), ("skin", 25), ("hip", 7)),
        *(("examples/chest.py", 3), ("examples/hippocampus.py", 6)),
    ],
)
def test_an_epoch_on_real_data(name, step, tmp_path, monkeypatch):
    """test_tasks.py divides the whole folders."""
    monkeypatch.setitem(VARIANTS, "smallest", SMALLEST_UNET)
    name = str(ROOT / name) if name.endswith(".py") else name
    task, run = find_task(name), tmp_path / "run"
    data = take_every(step, REAL / task.name, tmp_path / "data")
    command = ["train", "--task", name, "--data", data, "--variant", "smallest"]
    command += ["--image-size", 64, 64, "--epochs", 1, "--limit", 16, "--out", run]
    command += ["--no-export"]
    if task.name == "chest":
        command += ["--spacing", 0.9333]
    assert main(list(map(str, command))) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert set(metrics["classes"]) == set(task.classes)
    known = task.name in ("chest", "hippocampus")
    assert ("hd_mm" in metrics["mean"]) == known and ("hd_px" in metrics["mean"]) != known
    rows = [row.split(",") for row in (run / "split.csv").read_text().splitlines()[1:]]
    train, test = ({row[1] for row in rows if row[0] == part} for part in ("train", "test"))
    assert test and not train & test  # patients, where they are known
    if task.field is not None:
        written = sorted((run / "predictions").iterdir())
        assert len(written) == metrics["n"] == sum(row[0] == "test" for row in rows)
        truth = nibabel.load(REAL / "hippocampus" / "labelsTr" / written[0].name)
        predicted = nibabel.load(written[0])
        assert predicted.shape == truth.shape
        np.testing.assert_array_equal(predicted.affine, truth.affine)
        assert set(np.unique(np.asarray(predicted.dataobj))) <= {0, 1, 2}


@pytest.mark.skipif(not REAL.is_dir(), reason="the real images are elsewhere")
def test_the_hippocampus_model_to_take_has_the_scores_of_its_card():
    """As int8, without TensorFlow, on five of the volumes that it was not trained on."""
    task = find_task(str(ROOT / "examples" / "hippocampus.py"))
    model = load_predictor(ROOT / "docs" / "models" / "hippocampus" / "model-int8.tflite")
    samples = find_splits(task, REAL / "hippocampus")["test"][:5]
    assert summarize(evaluate(model, samples, task).rows)["mean"]["dice"] > 0.76
