"""What benchmarks/recipe_trials.py changes is what it says."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import ops

import transfuse_keras as tk
from benchmarks import recipe_trials as trials
from transfuse_keras.layers import TransformerBlock
from transfuse_keras.model import losses
from transfuse_keras.runs.settings import Settings
from transfuse_keras.training import fit

SHAPE = (32, 32, 3)


@pytest.fixture
def model():
    return tk.TransFuse("Ti", SHAPE)


def test_blocks_that_start_at_zero_are_the_identity(model):
    trials.start_at_zero(model, 0)
    tokens = ops.convert_to_tensor(np.random.default_rng(0).standard_normal((1, 4, 192)), "float32")
    for block in trials.find_blocks(model):
        assert np.array(block(tokens)) == pytest.approx(np.array(tokens))
    assert len(trials.find_blocks(model)) == 6


def test_residual_blocks_start_as_their_shortcut(model):
    """Statistics of a new normalisation are 0 and 1, so a gamma of 0 gives 0."""
    trials.start_residuals(model, 0)
    gammas = {
        layer.name: np.abs(np.array(layer.gamma)).max()
        for layer in model.cnn.layers
        if hasattr(layer, "gamma")
    }
    zero = {name for name, largest in gammas.items() if largest == 0}
    blocks = {name.removesuffix("_bn1") for name in gammas if name.endswith("_bn1")}
    assert zero == {f"{name}_bn2" for name in blocks} and len(blocks) == 6


def test_a_wide_start_has_glorots_deviation(model):
    trials.start_wide(model, 0)
    block = trials.find_blocks(model)[0]
    for dense, width in ((block.attn.qkv, 2 * 192), (block.fc1, 5 * 192)):
        assert np.array(dense.kernel).std() == pytest.approx(np.sqrt(2 / width), rel=0.02)


@pytest.mark.parametrize("full_rank", [False, True])
def test_a_mimetic_start_has_the_products_of_the_article(model, full_rank):
    """The mean of a product's diagonal is the share of the identity in it; of queries and keys a
    head's rank, a third of all, is left."""
    trials.start_mimetic(model, 0, full_rank)
    attention = trials.find_blocks(model)[3].attn
    queries, keys, values = np.split(np.array(attention.qkv.kernel), 3, axis=1)
    for head in np.split(np.arange(192), 3):
        product = queries[:, head] @ keys[:, head].T
        assert 0.7 / 3 < np.diag(product).mean() < 0.7
        assert np.linalg.matrix_rank(product) == 64
    product = values @ np.array(attention.proj.kernel)
    assert np.diag(product).mean() == pytest.approx(-0.4, abs=0.02)
    assert (product + 0.4 * np.eye(192)).std() == pytest.approx(0.4 / np.sqrt(192), rel=0.05)
    positions = np.array(model.vit.get_layer("patch_embed").positions)[0]
    np.testing.assert_array_equal(positions, trials.sine_positions(2, 2, 192))


def test_positions_are_waves_of_row_and_column():
    """The first wave has rate 1, the next one of 8 values a hundredth of it."""
    place = trials.sine_positions(2, 3, 8)[1, 2]
    row, column = [np.sin(1), np.sin(0.01), np.cos(1)], [np.sin(2), np.sin(0.02), np.cos(2)]
    assert place[[0, 1, 2, 4, 5, 6]] == pytest.approx([*row, *column], abs=1e-6)


def test_stochastic_depth_skips_what_a_block_adds_for_some_images(model):
    """Rate 0.5 in the last block: of an image neither, either or both of its sums are skipped, and
    what is kept counts twice. Of the first block it is a sixth of that."""
    keras.utils.set_random_seed(0)
    rng, call = np.random.default_rng(0), trials.create_call(0.5)
    tokens = ops.convert_to_tensor(np.repeat(rng.standard_normal((1, 4, 192)), 400, 0), "float32")
    first, *_, last = trials.find_blocks(model)
    np.testing.assert_allclose(np.array(call(last, tokens)), np.array(last(tokens)), atol=1e-6)
    for block, rate in ((first, 0.5 / 6), (last, 0.5)):
        trained = np.array(call(block, tokens, training=True))
        untouched = np.isclose(trained, np.array(tokens), atol=1e-7).all(axis=(1, 2))
        assert untouched.mean() == pytest.approx(rate**2, abs=0.06)
        attended = np.array(tokens + block.attn(block.norm1(tokens)) / (1 - rate))
        alone = np.isclose(trained, attended, atol=1e-6).all(axis=(1, 2))
        assert alone.mean() == pytest.approx(rate * (1 - rate), abs=0.06)


def test_a_trial_trains_with_its_changes_and_leaves_nothing_behind(monkeypatch, tmp_path):
    seen = {}

    def train(data, out, task, **options):
        seen.update(options, task=task, heads=dict(fit.LOSS_WEIGHTS), boundary=losses.BOUNDARY)
        seen["call"] = TransformerBlock.call
        recipe = replace(task.recipe, white_balance=(0.5, 0.5, 0.5))
        fit.create_model(Settings(task, recipe=recipe, seed=options["seed"]), 1)

    started = []
    monkeypatch.setattr(trials.tk, "train", train)
    trial = trials.Trial(
        start=lambda model, seed: started.append((model.variant, seed)),
        recipe={"betas": (0.9, 0.99)},
        heads=(0.8, 0.1, 0.1),
        boundary=2.0,
        depth=0.1,
        sides=2,
    )
    monkeypatch.setitem(trials.SETS, "skin", (tk.tasks.skin, (16, 32), 6, {"limit": 320}))
    own = TransformerBlock.call
    trials.train(trial, "skin", "d", 3, tmp_path, longer=4)
    recipe = seen["task"].recipe
    assert (recipe.betas, recipe.white_balance) == ((0.9, 0.99), True)
    assert (recipe.image_size, recipe.epochs) == ((32, 64), 24)
    assert seen["call"] is not own and TransformerBlock.call is own
    assert seen["heads"] == {"mask": 0.8, "transformer": 0.1, "fusion": 0.1}
    assert (seen["boundary"], seen["seed"], seen["limit"]) == (2.0, 3, 320)
    assert started == [("Ti", 3)]
    assert fit.LOSS_WEIGHTS == {"mask": 0.5, "transformer": 0.3, "fusion": 0.2}
    assert losses.BOUNDARY == 5.0
