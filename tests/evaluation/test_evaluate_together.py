"""Which samples models that are averaged are scored on: what none of them was trained on."""

import numpy as np
import pytest

from transfuse_keras.data.samples import Sample
from transfuse_keras.errors import InputError
from transfuse_keras.evaluation import evaluate_model as module
from transfuse_keras.evaluation.evaluate_model import (
    LABEL,
    choose_evaluation_folder,
    choose_for_all,
)
from transfuse_keras.tasks import hip

SPLITS = {  # of two runs on the same five images
    "a": {"1": "train", "2": "train", "3": "val", "4": "test", "5": "test"},
    "b": {"1": "train", "2": "test", "3": "val", "4": "train", "5": "test"},
}


def make_sample(name):
    return Sample(name, name, None, lambda: (np.zeros((2, 2, 3)), np.zeros((2, 2, 3))))


@pytest.fixture(autouse=True)
def runs(monkeypatch):
    """`choose_samples` of runs that are known by their splits alone."""

    def choose(task, data, run, spacing, everything, masks, group):
        parts = SPLITS.get(run, {})
        samples = [make_sample(name) for name in SPLITS["a"]]
        if everything:
            samples = [module.label_split(x, parts) for x in samples]
            return samples, module.count_used(parts)
        return [x for x in samples if parts.get(x.name) == "test"], 0

    monkeypatch.setattr(module, "choose_samples", choose)
    monkeypatch.setattr(module, "own_data", lambda run: "data" if run in SPLITS else "other")


def choose(runs, data="data", everything=False):
    samples, count = choose_for_all(hip, data, runs, None, everything, None, None)
    return {x.name: x.attributes.get(LABEL) for x in samples}, count


def test_what_one_of_them_was_trained_on_is_left_out():
    assert choose(["a"]) == ({"4": None, "5": None}, 0)
    assert choose(["a", "b"]) == ({"5": None}, 0)
    with pytest.raises(InputError, match="--data"):
        choose(["a", "folds"])


def test_all_samples_tell_how_each_run_used_them():
    found, count = choose(["a", "b"], everything=True)
    assert found == {
        **{"1": "train", "2": "test or train", "3": "val", "4": "test or train", "5": "test"}
    }
    assert count == 4


def test_runs_on_different_data_need_data():
    with pytest.raises(InputError, match="--data"):
        choose(["a", "other"], data=None)


def test_a_refused_evaluation_can_be_repeated_into_its_folder(tmp_path):
    (tmp_path / "log.txt").write_text("ended by InputError\n")
    assert choose_evaluation_folder(tmp_path, None, "data") == tmp_path
    (tmp_path / "thesis.docx").touch()
    with pytest.raises(InputError, match="already holds something else"):
        choose_evaluation_folder(tmp_path, None, "data")
