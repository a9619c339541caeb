import csv
import math
import warnings

import keras
import numpy as np
import pytest
from conftest import SMALLEST

import transfuse_keras as tk
from benchmarks.reliability.runs import weights_of
from transfuse_keras.data.order import Order
from transfuse_keras.devices import computing_in
from transfuse_keras.errors import InputError
from transfuse_keras.tasks.task import Recipe
from transfuse_keras.training import callbacks as callback_module
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
    assert not progress.mend


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
    assert f"{last}: damaged" in capsys.readouterr().err
    assert progress.mend  # epoch 2 was the best before, although best.keras is of epoch 3
    for path in checkpoints.checkpoints(run / "checkpoints"):
        path.write_bytes(b"")
    assert newest_intact(run / "checkpoints") is None


def test_a_lost_best_model_is_said_and_replaced(saved, capsys):
    run = saved(0.1, 0.7, 0.3, 0.5)
    (run / "checkpoints" / "best.keras").write_bytes(b"")
    progress = find_progress(run, "score")
    assert progress.best == 0.5 and progress.mend
    assert "epoch 4" in capsys.readouterr().err
    (run / "checkpoints" / "best.keras").unlink()
    assert find_progress(run, "score").mend


def test_the_best_that_was_not_written_before_a_kill_is_told(saved):
    run = saved(0.1, 0.2)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(checkpoints, "save_best", lambda *_: None)
        callback = SaveCheckpoints(run / "checkpoints", "score", 0.2)
        callback.set_model(OneWeight())
        callback.on_epoch_end(2, {"score": 0.7})
    with (run / "history.csv").open("a") as file:
        file.write("3,0.7\n")
    progress = find_progress(run, "score")
    assert progress.epochs == 3 and progress.best == 0.7 and progress.mend


def test_without_a_score_the_last_model_is_the_one_that_is_kept(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    callback = SaveCheckpoints(tmp_path / "checkpoints", None)
    callback.set_model(model := OneWeight())
    for epoch in range(2):
        model.value.assign([epoch + 1.0])
        callback.on_epoch_end(epoch, {"loss": 1.0 + epoch})
    assert weight_in(tmp_path / "checkpoints" / "best.keras") == 2
    (tmp_path / "history.csv").write_text("epoch,loss\n1,1.0\n2,2.0\n")
    progress = find_progress(tmp_path, None)
    assert progress.epochs == 2 and progress.best == 1 and not progress.mend


def test_what_is_scored_has_the_mean_weights_and_no_optimiser(tmp_path):
    """Means of plain Adam steps, by hand; the model goes on with its own weights."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, use_bias=False)])
    model.compile(create_optimizer(Recipe(ema=0.75), 1), "mse")
    model.optimizer.build(model.trainable_variables)
    (kernel,), mean = model.trainable_variables, None
    for gradient in (1.0, -2.0, 0.5):
        model.optimizer.apply([keras.ops.full((2, 3), gradient)], [kernel])
        now = np.array(kernel)
        mean = now if mean is None else 0.75 * mean + 0.25 * now
    checkpoints.save_model(model, tmp_path / "epoch-0003.keras")
    checkpoints.save_best(model, tmp_path, 3)
    np.testing.assert_array_equal(kernel, now)
    best = keras.saving.load_model(tmp_path / "best.keras")
    np.testing.assert_allclose(best.trainable_variables[0], mean, rtol=1e-6)
    assert getattr(best, "optimizer", None) is None
    whole, kept = (weights_of(tmp_path / name) for name in ("epoch-0003.keras", "best.keras"))
    assert kept.keys() == {name for name in whole if not name.startswith("optimizer")}
    assert len(kept) == 1 < len(whole)


class Logged(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.logs = [*getattr(self, "logs", []), logs]


def test_validation_scores_the_mean_weights():
    x, y = np.ones((4, 1), "float32"), np.zeros((4, 1), "float32")
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(create_optimizer(Recipe(ema=0.9, learning_rate=0.1), 1), "mse")
    logged = Logged()
    callbacks = [callback_module.ScoreMeanWeights(), logged]
    model.fit(x, y, epochs=3, verbose=0, validation_data=(x, y), callbacks=callbacks)
    # fit ends with the mean in place of the weights: the loss of it is what was validated
    assert logged.logs[-1]["val_loss"] == pytest.approx(model.evaluate(x, y, verbose=0), rel=1e-6)
    assert logged.logs[-1]["val_loss"] != pytest.approx(logged.logs[-1]["loss"], rel=1e-3)


def test_a_training_ends_when_its_score_has_not_risen_for_so_many_epochs():
    rows = [{"score": str(score)} for score in (0.1, 0.5, 0.4, 0.5, 0.3)]
    ended = [callback_module.has_stopped(rows[:n], 2, "score") for n in range(6)]
    assert ended == [False] * 4 + [True] * 2
    assert not callback_module.has_stopped(rows, None, "score")
    model = OneWeight()
    for epochs, stops in ((2, False), (3, True)):  # of a run that was resumed
        callback = callback_module.StopEarly(2, "score", rows[:epochs])
        callback.set_model(model)
        model.stop_training = False
        callback.on_epoch_end(epochs, {"score": 0.5})
        assert model.stop_training == stops


@pytest.mark.parametrize("epoch", [0, 3, 4095, 4096, 10_000])
def test_the_state_of_dropout_fits_into_32_bits_and_differs_by_epoch(epoch):
    class Keeper(keras.Model):
        def __init__(self):
            super().__init__()
            self.generator = keras.random.SeedGenerator(7)
            self.built = True

    model = Keeper()
    callback = BeginEpoch(Order(8, 4, 0))
    callback.set_model(model)
    callback.on_train_begin()
    states = []
    for number in (epoch, epoch + 1, 0):
        callback.on_epoch_begin(number)
        states.append(tuple(np.array(model.generator.state).tolist()))
    assert states[0] != states[1] and states[2] == (7, 0)
    assert (states[0] == states[2]) == (epoch == 0)
    if epoch < 4096:  # as runs have been trained so far
        assert states[0] == (7, epoch << 20)


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


@pytest.mark.release
def test_a_training_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(tmp_path):
    """With dropout, gradients of two batches averaged, and a loss that is scaled.

    In float32 the killed trainings of test_resume.py show it.
    """
    recipe, precision = Recipe(accumulate=2), "mixed_float16"
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
    with pytest.raises(InputError, match="not a checkpoint"):
        checkpoints.restore(model, run / "checkpoints" / "epoch-0001.keras")


def test_only_a_warning_of_what_was_skipped_refuses_a_checkpoint(tmp_path, monkeypatch):
    def network(optimizer):
        model = Restorable([keras.Input((2,)), keras.layers.Dense(3)])
        model.compile(optimizer, "mse")
        model.build_optimizer()
        return model

    network("adam").save(path := tmp_path / "epoch-0001.keras")
    load = keras.Model.load_weights

    def warn_and_load(self, *arguments, **options):
        warnings.warn("numpy.something is deprecated", DeprecationWarning, stacklevel=2)
        return load(self, *arguments, **options)

    monkeypatch.setattr(keras.Model, "load_weights", warn_and_load)
    with pytest.warns(DeprecationWarning):
        checkpoints.restore(network("adam"), path)
    with pytest.raises(InputError, match="epoch-0001.keras: .*optimizer"):
        checkpoints.restore(network("sgd"), path)


class Restorable(keras.Sequential):
    def build_optimizer(self):
        self.optimizer.build(self.trainable_variables)
