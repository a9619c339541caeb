"""Which recipe a training takes when none is given."""

from dataclasses import replace

import pytest

from transfuse_keras.errors import InputError
from transfuse_keras.runs.options import choose_recipe, describe_recipe, parse_settings
from transfuse_keras.tasks import hip, prostate, skin
from transfuse_keras.weights.efficientnet import PACKAGE


@pytest.mark.parametrize(
    ("given", "recipe"),
    [
        ({"data": "d"}, "scratch"),
        ({"data": "d", "weights": "none"}, "scratch"),
        ({"data": "d", "weights": PACKAGE}, "scratch"),  # of the CNN alone
        ({"data": "d", "weights": "imagenet"}, "paper"),
        ({"data": "d", "weights": "savedmodels/hip"}, "paper"),
        ({"data": "d", "recipe": "paper"}, "paper"),
        ({}, "paper"),
    ],
)
def test_the_recipe_follows_the_weights(given, recipe):
    assert choose_recipe(given, hip.recipe) == recipe
    said = describe_recipe(given, hip.recipe)
    assert (said is None) == ("recipe" in given or "data" not in given)
    assert said is None or recipe in said


def test_random_weights_on_data_train_with_warm_up_and_no_dropout():
    recipe = parse_settings({"task": "hip", "data": "d"}).recipe
    assert (recipe.warm_up, recipe.dropout, recipe.learning_rate) == (0.1, 0.0, 1e-3)
    assert parse_settings({"task": "hip"}).recipe == hip.phantom_recipe


def test_colours_are_balanced_from_random_weights_but_not_of_volumes():
    def asked(task, **given):
        return parse_settings({"task": task, "data": "d", **given}).recipe

    assert asked("skin").white_balance and asked("skin", recipe="scratch").white_balance
    assert not asked("prostate", recipe="scratch").white_balance
    assert not asked("skin", recipe="paper").white_balance
    before = asked("skin", recipe="scratch-v1")
    assert before == replace(asked("skin"), white_balance=False, pen_marks=0, muon=None)
    planned = replace(hip, recipe=replace(hip.recipe, white_balance=True))
    given = {"data": "d", "recipe": "scratch-v1"}
    assert not parse_settings(given, planned).recipe.white_balance


def test_pen_marks_are_drawn_where_skin_is_trained_from_random_weights():
    def asked(task="skin", **given):
        return parse_settings({"task": task, **given}).recipe.pen_marks

    assert asked(data="d") == asked(data="d", weights=PACKAGE) == 4
    for before in ({"recipe": "scratch-v2"}, {"recipe": "scratch-v1"}, {"weights": "imagenet"}):
        assert asked(data="d", **before) == 0
    assert asked() == 0  # phantoms
    assert asked("hip", data="d") == asked("prostate", data="d", recipe="scratch") == 0


def test_scratch_v3_is_scratch_without_muon_and_v2_draws_no_pen_marks():
    now, before, first = (
        parse_settings({"task": "skin", "data": "d", "recipe": recipe})
        for recipe in ("scratch", "scratch-v3", "scratch-v2")
    )
    assert now.recipe.muon == 8.0
    assert replace(now, recipe=replace(now.recipe, muon=None)) == before
    assert replace(before, recipe=replace(before.recipe, pen_marks=0)) == first


def test_pen_marks_on_what_is_not_rgb_are_refused():
    for task in (replace(hip, channels=1), prostate):
        own = replace(task, recipe=replace(task.recipe, weights="none", pen_marks=2))
        with pytest.raises(InputError, match="pen_marks are for RGB images alone"):
            parse_settings({"data": "d"}, own)
    own = replace(skin, recipe=replace(skin.recipe, weights="none", pen_marks=-1))
    with pytest.raises(InputError, match="pen_marks must be 0 or more, not -1"):
        parse_settings({"data": "d"}, own)


@pytest.mark.parametrize("colour", [(0.5, 0.5), (140, 120, 110), (-0.1, 0.5, 0.5)])
def test_a_white_balance_that_cannot_be_is_refused(colour):
    task = replace(hip, recipe=replace(hip.recipe, weights="none", white_balance=colour))
    with pytest.raises(InputError, match="white_balance is True, False or a mean"):
        parse_settings({"data": "d"}, task).check()
    volumes = replace(prostate, recipe=replace(task.recipe, white_balance=True))
    with pytest.raises(InputError, match="volumes have no colours"):
        parse_settings({"data": "d"}, volumes).check()


def test_a_recipe_that_names_its_weights_starts_from_them_and_stays_as_it_is():
    made = replace(hip.recipe, weights="none", batch_size=5)
    task = replace(hip, recipe=made)
    given = {"data": "d"}
    settings = parse_settings(given, task)
    assert settings.recipe == made and settings.weights is None
    assert describe_recipe(given, made) is None
    started = parse_settings({**given, "weights": "imagenet"}, task)
    assert started.recipe == made and started.weights == "imagenet"
    assert "imagenet" in describe_recipe({**given, "weights": "imagenet"}, made)
    changed = parse_settings({**given, "recipe": "scratch"}, task).recipe
    assert (changed.batch_size, changed.learning_rate) == (8, 1e-3)


@pytest.mark.parametrize(
    ("task", "given", "threshold"),
    [
        (hip, {"data": "d"}, "auto"),  # random weights, so scratch
        (hip, {"data": "d", "recipe": "scratch-v1"}, None),
        (hip, {"data": "d", "weights": "imagenet"}, None),
        (hip, {"data": "d", "weights": "imagenet", "recipe": "scratch"}, "auto"),
        (hip, {"data": "d", "threshold": "0.5"}, 0.5),
        (replace(hip, threshold=0.3), {"data": "d"}, 0.3),
        (prostate, {"data": "d"}, None),  # volumes
        (hip, {}, None),  # phantoms
    ],
)
def test_validation_chooses_thresholds_where_scratch_trains_on_images(task, given, threshold):
    assert parse_settings(given, task).threshold == threshold


def test_the_threshold_of_a_task_is_that_of_a_training_that_has_validation_images():
    task = replace(hip, threshold="auto")
    assert parse_settings({"data": "d"}, task).threshold == "auto"
    assert parse_settings({"data": "d", "threshold": "0.4"}, task).threshold == 0.4
    assert parse_settings({"data": "d", "val": "none"}, task).threshold is None
