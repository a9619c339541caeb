"""Which recipe a training takes when none is given."""

import pytest

from transfuse_keras.runs.options import choose_recipe, describe_recipe, parse_settings
from transfuse_keras.tasks import hip


@pytest.mark.parametrize(
    ("given", "recipe"),
    [
        ({"data": "d"}, "scratch"),
        ({"data": "d", "weights": "none"}, "scratch"),
        ({"data": "d", "weights": "imagenet"}, "paper"),
        ({"data": "d", "weights": "savedmodels/hip"}, "paper"),
        ({"data": "d", "recipe": "paper"}, "paper"),
        ({}, "paper"),
    ],
)
def test_the_recipe_follows_the_weights(given, recipe):
    assert choose_recipe(given) == recipe
    said = describe_recipe(given)
    assert (said is None) == ("recipe" in given or "data" not in given)
    assert said is None or recipe in said


def test_random_weights_on_data_train_with_warm_up_and_no_dropout():
    recipe = parse_settings({"task": "hip", "data": "d"}).recipe
    assert (recipe.warm_up, recipe.dropout, recipe.learning_rate) == (0.1, 0.0, 1e-3)
    assert parse_settings({"task": "hip"}).recipe == hip.phantom_recipe
