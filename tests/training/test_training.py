"""The learning rate of a training, and the recipe for branches without pretrained weights."""

import json
import math
import runpy
from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import SMALLEST
from data.files import hip_folder

from transfuse_keras.errors import InputError
from transfuse_keras.files import write_json
from transfuse_keras.model.losses import StructureLoss
from transfuse_keras.model.transfuse import LOSS_WEIGHTS
from transfuse_keras.model.variants import VARIANTS
from transfuse_keras.runs.folder import COMPLETE, CONFIG, SPLIT, read_split, write_split
from transfuse_keras.runs.samples import complete_split, recognize
from transfuse_keras.runs.settings import Settings, describe_settings, read_settings
from transfuse_keras.tasks import TASKS
from transfuse_keras.tasks.task import Recipe
from transfuse_keras.training import adam, train
from transfuse_keras.training.checkpoints import Progress
from transfuse_keras.training.fit import MONITOR, create_model, has_ended
from transfuse_keras.training.optimizer import create_learning_rate, create_optimizer
from transfuse_keras.training.train import find_run_splits, lengthen


def test_the_learning_rate_rises_and_falls_along_a_cosine():
    recipe = Recipe(epochs=5, learning_rate=0.01, warm_up=0.1, scales=(0.5, 1.0))
    rate = create_learning_rate(recipe, batches=10)  # 100 steps: two sizes of every batch
    wanted = {0: 0.0, 5: 0.005, 10: 0.01, 55: 0.005, 100: 0.0}
    wanted[40] = 0.005 * (1 + math.cos(math.pi / 3))
    for step, value in wanted.items():
        assert float(rate(step)) == pytest.approx(value, abs=1e-8), step
    at_once = create_learning_rate(replace(recipe, warm_up=0.0), batches=10)
    assert float(at_once(0)) == pytest.approx(0.01)
    assert create_learning_rate(replace(recipe, warm_up=None), batches=10) == 0.01


def test_a_longer_training_follows_a_new_cosine_from_where_it_goes_on():
    recipe = Recipe(epochs=5, learning_rate=0.01, warm_up=0.1)
    rate = create_learning_rate(recipe, batches=20, restart=3)  # steps 60 to 100, 4 of them rising
    wanted = {0: 0.0, 60: 0.0, 62: 0.005, 64: 0.01, 82: 0.005, 100: 0.0}
    for step, value in wanted.items():
        assert float(rate(step)) == pytest.approx(value, abs=1e-7), step
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(rate))
    assert float(again(82)) == pytest.approx(0.005, abs=1e-7)


def one_step(recipe, gradient):
    """What a step of the optimiser adds to a kernel, a bias and the values 2."""
    variables = [keras.Variable([2.0], name=name) for name in ("kernel", "bias", "gamma")]
    optimizer = create_optimizer(recipe, 1)
    optimizer.build(variables)
    optimizer.apply([keras.ops.array([gradient])] * 3, variables)
    return [float(variable[0]) - 2 for variable in variables]


def test_weight_decay_is_of_kernels_alone():
    plain = one_step(Recipe(learning_rate=0.1), 0.5)
    decayed = one_step(Recipe(learning_rate=0.1, weight_decay=0.05), 0.5)
    assert decayed[0] - plain[0] == pytest.approx(-2 * 0.1 * 0.05, rel=1e-4)
    assert decayed[1:] == plain[1:]


def test_epsilon_is_pytorchs():
    assert {task.recipe.epsilon for task in TASKS.values()} == {1e-8}
    assert create_optimizer(Recipe(), 1).epsilon == 1e-8


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a hook of tf.distribute")
def test_a_keras_that_renames_the_hook_for_sums_is_an_error(monkeypatch):
    hook = "_all_reduce_sum_gradients"
    (owner,) = [base for base in keras.optimizers.Adam.__mro__ if hook in vars(base)]
    # the module runs once more: its classes are not to take the place of the registered ones
    monkeypatch.setattr(keras.saving, "register_keras_serializable", lambda _: lambda cls: cls)
    runpy.run_path(adam.__file__)
    monkeypatch.delattr(owner, hook)
    with pytest.raises(AssertionError, match="adds up gradients"):
        runpy.run_path(adam.__file__)


def test_a_run_from_before_keeps_the_epsilon_that_it_was_begun_with(tmp_path):
    content = describe_settings(Settings(TASKS["hip"]))
    (tmp_path / "new.json").write_text(json.dumps(content))
    del content["recipe"]["epsilon"]
    (tmp_path / "old.json").write_text(json.dumps(content))
    epsilons = [read_settings(tmp_path / x).recipe.epsilon for x in ("old.json", "new.json")]
    assert epsilons == [1e-7, 1e-8]


def test_without_validation_all_but_the_test_images_are_trained_on(tmp_path):
    settings = Settings(TASKS["hip"], recipe=Recipe("Ti", (32, 32), counts=(6, 3, 2)))
    settings = replace(settings, task=replace(settings.task, phantom_recipe=settings.recipe))
    plain, whole = (find_run_splits(replace(settings, validation=v)) for v in (True, False))
    assert [len(x) for x in plain.values()] == [6, 3, 2]
    assert [len(x) for x in whole.values()] == [9, 0, 2]
    names = [
        [x.name for part in parts for x in part]
        for parts in ((whole["train"], whole["test"]), plain.values())
    ]
    assert names[0] == names[1]
    for wrong in ({"threshold": "auto"}, {"recipe": replace(settings.recipe, patience=3)}):
        with pytest.raises(InputError, match="validation"):
            replace(settings, validation=False, **wrong).check()


def test_a_training_that_read_no_image_as_a_whole_recognises_them_afterwards(tmp_path):
    data = hip_folder(tmp_path / "data")
    settings = Settings(TASKS["hip"], str(data), replace(TASKS["hip"].recipe, image_size=(32, 32)))
    splits = find_run_splits(settings)
    write_split(tmp_path / SPLIT, splits)  # as process 0 of several
    complete_split(tmp_path, splits, (32, 32), None)
    write_json(tmp_path / CONFIG, describe_settings(settings))
    found = recognize(settings.task, tmp_path, samples := sum(splits.values(), []))
    assert found == {x.name: part for part, of in splits.items() for x in of} and len(samples) == 12
    assert all(row["digest"] for row in read_split(tmp_path))


@pytest.mark.parametrize(
    ("kept", "complete", "stay"), [(False, True, False), (True, True, True), (False, False, True)]
)
def test_a_complete_run_keeps_its_checkpoints_only_where_asked(
    tmp_path, monkeypatch, kept, complete, stay
):
    (tmp_path / "checkpoints").mkdir()

    def write_results(run, *_):
        if complete:
            (run / COMPLETE).write_text("{}")

    monkeypatch.setattr(train, "load_model", lambda path: None)
    monkeypatch.setattr(train, "write_results", write_results)
    train.finish(Settings(TASKS["hip"]), tmp_path, {}, None, kept, False, False)
    assert (tmp_path / "checkpoints").exists() == stay


def test_validation_images_that_are_scored_are_not_trained_on(monkeypatch):
    parts = {"train": [1], "val": [sample := SimpleNamespace(name="a")], "test": [sample]}
    monkeypatch.setattr(train, "find_splits", lambda *_: parts)
    with pytest.raises(InputError, match="scored"):
        find_run_splits(Settings(TASKS["polyp"], "data", validation=False))


@pytest.fixture
def progress(tmp_path):
    settings = Settings(TASKS["skin"], recipe=Recipe(epochs=6, warm_up=0.1))
    write_json(tmp_path / CONFIG, {**describe_settings(settings), "split": ["by patient"]})
    (tmp_path / COMPLETE).write_text("{}")
    return Progress(tmp_path / "checkpoints" / "epoch-0006.keras", 6)


def test_a_run_goes_on_for_longer(tmp_path, progress, capsys):
    settings = read_settings(tmp_path / CONFIG)
    longer = lengthen(settings, tmp_path, 9, progress, first=True)
    assert longer.recipe.epochs == 9 and longer.restart == 6
    assert "cosine from epoch 7" in capsys.readouterr().out
    assert read_settings(tmp_path / CONFIG) == longer
    assert json.loads((tmp_path / CONFIG).read_text())["split"] == ["by patient"]
    assert not (tmp_path / COMPLETE).exists()
    for epochs, found in ((6, progress), (9, Progress())):
        with pytest.raises(InputError, match=str(tmp_path)):
            lengthen(settings, tmp_path, epochs, found, first=True)


def test_a_longer_training_that_lost_its_checkpoints_begins_its_cosine_anew(
    tmp_path, progress, monkeypatch
):
    longer = lengthen(read_settings(tmp_path / CONFIG), tmp_path, 9, progress, first=True)
    fitted = []
    monkeypatch.setattr(train, "find_run_splits", lambda settings: {})
    monkeypatch.setattr(train, "fit_model", lambda settings, *_: fitted.append(settings))
    train.train_run(longer, tmp_path, True, True, None, None, None)  # no checkpoint is there
    assert fitted[0].restart == read_settings(tmp_path / CONFIG).restart == 0
    assert create_learning_rate(fitted[0].recipe, 10, fitted[0].restart)(5) > 0


def test_a_training_that_ended_early_counts_its_patience_anew_when_it_goes_on(tmp_path, progress):
    settings = read_settings(tmp_path / CONFIG)
    settings = replace(settings, recipe=replace(settings.recipe, warm_up=None, patience=2))
    rows = tuple({MONITOR: str(score)} for score in (0.5, 0.4, 0.3))
    stopped = Progress(progress.checkpoint, 3, rows, 0.5)
    assert has_ended(stopped, settings)
    longer = lengthen(settings, tmp_path, 9, stopped, first=True)
    for worse, ends in (((), False), ((0.2, 0.1), False), ((0.2, 0.1, 0.1), True)):
        more = tuple({MONITOR: str(score)} for score in worse)
        assert has_ended(Progress(progress.checkpoint, 3 + len(more), rows + more), longer) == ends


@pytest.mark.parametrize("warm_up", [-0.1, 1.0, math.nan])
def test_a_warm_up_that_leaves_no_steps_is_refused(warm_up):
    with pytest.raises(InputError, match="warm_up must be"):
        Settings(TASKS["skin"], recipe=Recipe(warm_up=warm_up)).check()


@pytest.mark.slow
def test_the_terms_of_the_recipe_are_in_the_loss_of_every_head(monkeypatch):
    monkeypatch.setitem(VARIANTS, "smallest", SMALLEST)
    terms = {"class_weights": (1.0, 4.0, 2.0), "focal": 2.0}
    recipe = Recipe("smallest", image_size=(32, 32), **terms)
    model = create_model(Settings(TASKS["hip"], recipe=recipe), batches=1)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((2, 32, 32, 3)).astype("float32")
    masks = (rng.random((2, 32, 32, 3)) < 0.3).astype("float32")
    outputs, loss = model(images), StructureLoss(**terms)
    wanted = sum(share * float(loss(masks, outputs[x])) for x, share in LOSS_WEIGHTS.items())
    found = model.evaluate(images, masks, verbose=0, return_dict=True)["loss"]
    assert found == pytest.approx(wanted, rel=1e-4)
