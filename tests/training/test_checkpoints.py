import csv
import math

import keras
import numpy as np
import pytest
from conftest import SMALLEST

import transfuse_keras as tk
from transfuse_keras.data.order import Order
from transfuse_keras.devices import computing_in
from transfuse_keras.errors import InputError
from transfuse_keras.tasks.task import Recipe
from transfuse_keras.training import checkpoints
from transfuse_keras.training.callbacks import BeginEpoch
from transfuse_keras.training.checkpoints import (
    SaveCheckpoints,
    find_progress,
    is_intact,
    newest_intact,
)
from transfuse_keras.training.optimizer import create_optimizer


class OneWeight(keras.Model):
    """The smallest model there is to save."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.value = self.add_weight(shape=(1,), initializer="zeros")
        self.built = True

    def call(self, x):
        return x * self.value


@pytest.fixture
def saved(tmp_path):
    """A run folder after as many epochs as scores are given; its weight is the epoch."""

    def save(*scores):
        folder = tmp_path / "checkpoints"
        folder.mkdir()
        callback = SaveCheckpoints(folder, "score")
        callback.set_model(model := OneWeight())
        for epoch, score in enumerate(scores):
            model.value.assign([epoch + 1.0])
            callback.on_epoch_end(epoch, {"score": score})
        with (tmp_path / "history.csv").open("w", newline="") as file:
            rows = [(epoch + 1, score) for epoch, score in enumerate(scores)]
            csv.writer(file).writerows([("epoch", "score"), *rows])
        return tmp_path

    return save


def names(run):
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def weight_in(path):
    model = OneWeight()
    model.load_weights(path)
    return float(model.value[0])


def test_the_last_two_and_the_best_are_kept(saved):
    run = saved(0.1, 0.7, 0.3, 0.5)
    assert names(run) == ["best.keras", "epoch-0003.keras", "epoch-0004.keras"]
    assert weight_in(run / "checkpoints" / "best.keras") == 2
    progress = find_progress(run, "score")
    assert progress.checkpoint.name == "epoch-0004.keras" and progress.epochs == 4
    assert progress.best == 0.7 and [row["score"] for row in progress.rows][-1] == "0.5"


def test_nothing_saved_is_the_start(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    progress = find_progress(tmp_path, "score")
    assert progress == checkpoints.Progress() and progress.best == -math.inf


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_cut_or_changed_file_is_not_intact(saved, share):
    path = saved(0.1) / "checkpoints" / "epoch-0001.keras"
    content = bytearray(path.read_bytes())
    assert is_intact(path)
    path.write_bytes(content[: int(share * len(content))])
    assert not is_intact(path)
    path.write_bytes(content)
    with path.open("r+b") as file:  # a value in the middle of the weights
        file.seek(content.index(np.float32(1).tobytes(), content.index(b"HDF")))
        file.write(b"\x01")
    assert not is_intact(path)


def test_the_checkpoint_before_a_damaged_one_is_used_and_said(saved, capsys):
    run = saved(0.1, 0.2, 0.7)
    last = run / "checkpoints" / "epoch-0003.keras"
    last.write_bytes(last.read_bytes()[:-100])
    progress = find_progress(run, "score")
    assert progress.epochs == 2 and progress.best == 0.2 and len(progress.rows) == 2
    assert f"{last}: damaged; going on from before it." in capsys.readouterr().out
    # epoch 2 was the best before, although best.keras is of epoch 3
    assert weight_in(run / "checkpoints" / "best.keras") == 2
    for path in checkpoints.checkpoints(run / "checkpoints"):
        path.write_bytes(b"")
    assert newest_intact(run / "checkpoints") is None


def test_a_lost_best_model_is_said_and_replaced(saved, capsys):
    run = saved(0.1, 0.7, 0.3, 0.5)
    (run / "checkpoints" / "best.keras").write_bytes(b"")
    progress = find_progress(run, "score")
    assert progress.best == 0.5 and weight_in(run / "checkpoints" / "best.keras") == 4
    assert "best.keras: damaged or missing; the model of epoch 4" in capsys.readouterr().out


def test_a_history_that_lacks_an_epoch_stops(saved):
    run = saved(0.1, 0.7)
    (run / "history.csv").write_text("epoch,score\n1,0.1\n")
    with pytest.raises(InputError, match=r"history.csv: damaged or missing"):
        find_progress(run, "score")


def compiled(recipe, precision="float32"):
    keras.utils.set_random_seed(0)
    with computing_in(precision):
        model = tk.TransFuse(SMALLEST, (32, 48, 3))
    model.compile(create_optimizer(recipe, 1))
    return model


def batch():
    rng = np.random.default_rng(0)
    images = rng.standard_normal((4, 32, 48, 3)).astype("float32")
    return images, (images[..., :1] > 0).astype("float32")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_a_training_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(tmp_path, precision):
    """With dropout, and with gradients of two batches averaged."""
    recipe = Recipe(accumulate=2)
    order = Order(12, 4, 0)

    def fit(model, first, last, callbacks=()):
        images, masks = (np.concatenate([x] * 3) for x in batch())
        model.fit(
            images,
            masks,
            batch_size=4,
            initial_epoch=first,
            epochs=last,
            shuffle=False,
            verbose=0,
            callbacks=[BeginEpoch(order), *callbacks],
        )

    whole = compiled(recipe, precision)
    fit(whole, 0, 1)
    whole.save(tmp_path / "one.keras")
    fit(whole, 1, 2)
    with computing_in(precision):
        loaded = keras.models.load_model(tmp_path / "one.keras")
    assert len(loaded.optimizer.variables) == len(whole.optimizer.variables)
    again = compiled(recipe, precision)
    checkpoints.restore(again, tmp_path / "one.keras")
    fit(again, 1, 2)
    assert int(again.optimizer.iterations) == 3  # of two batches each
    pairs = zip(again.optimizer.variables, whole.optimizer.variables, strict=True)
    for ours, theirs in [*zip(again.weights, whole.weights, strict=True), *pairs]:
        ours, values = np.asarray(ours), np.asarray(theirs)
        largest = max(1.0, np.abs(values).max())
        assert np.abs(ours - values).max() < 1e-6 * largest, theirs.path


def test_a_checkpoint_of_another_model_is_refused(saved, smallest):
    run = saved(0.1)
    model = smallest()
    model.compile()
    with pytest.raises(InputError, match="is not a checkpoint of this training"):
        checkpoints.restore(model, run / "checkpoints" / "epoch-0001.keras")
