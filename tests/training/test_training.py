"""The learning rate of a training, and the recipe for branches without pretrained weights."""

import math
from dataclasses import replace

import pytest

from transfuse_keras.errors import InputError
from transfuse_keras.runs.settings import Settings
from transfuse_keras.tasks import TASKS
from transfuse_keras.tasks.task import RECIPE_CHANGES, Recipe
from transfuse_keras.training.optimizer import create_learning_rate


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


def test_the_recipe_of_every_task_is_the_papers_unless_asked():
    for task in TASKS.values():
        assert task.recipe.warm_up is None and task.recipe.betas == (0.5, 0.999)
    scratch = replace(TASKS["skin"].recipe, **RECIPE_CHANGES["scratch"])
    assert scratch.warm_up == 0.1 and scratch.betas == (0.9, 0.999)
    assert scratch.epochs == TASKS["skin"].recipe.epochs


@pytest.mark.parametrize("warm_up", [-0.1, 1.0, math.nan])
def test_a_warm_up_that_leaves_no_steps_is_refused(warm_up):
    with pytest.raises(InputError, match="warm_up must be from 0 to below 1, not"):
        Settings(TASKS["skin"], recipe=Recipe(warm_up=warm_up)).check()
