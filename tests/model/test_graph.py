"""The models of the paper's Tables 5 and 6."""

import keras
import numpy as np
import pytest
from conftest import SMALLEST

from transfuse_keras.layers import BiFusion, bifusion
from transfuse_keras.model import variants
from transfuse_keras.model.transfuse import TransFuse
from transfuse_keras.model.variants import ABLATIONS, VARIANTS, Variant, resolve_variant
from transfuse_keras.training.ablation import same_model


@pytest.fixture(autouse=True)
def smallest_variant(monkeypatch):
    monkeypatch.setitem(VARIANTS, "smallest", SMALLEST)


def images(shape=(2, 32, 48, 3)):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def parameters(model):
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


@pytest.mark.slow
def test_the_steps_of_table_6_add_the_papers_blocks():
    counts = [parameters(TransFuse(f"S:F.{step}", (192, 256, 3))) for step in (1, 2, 3, 4)]
    # at strides 16, 8, 4: channels of the CNN, of the transformer and of the fusion; reduction
    maps = ((256, 384, 256, 4), (128, 128, 128, 2), (64, 64, 64, 1))
    spatial = 3 * (7 * 7 * 2 + 2)  # a convolution over mean and maximum, its normalisation
    channel = sum(2 * t * (t // r) + t // r + t for _, t, _, r in maps)
    product = sum(
        (g + 1) * f + (t + 1) * f + (9 * f + 1) * f + 6 * f  # three normalised convolutions
        + 2 * f + f * f // 2 + f * f  # f more channels into the residual block and its shortcut
        for g, t, f, _ in maps
    )  # fmt: skip
    assert counts[3] == 26_248_341
    assert np.diff(counts).tolist() == [spatial, channel, product]


def seen_by_the_residual_block(parts, g, t):
    """What a BiFusion concatenates: (of the CNN's map, of the transformer's, of their product)."""
    fusion = BiFusion(8, 4, parts=parts)
    fusion.residual = keras.layers.Identity()
    return np.split(np.asarray(fusion(g, t)), np.cumsum([g.shape[-1], t.shape[-1]]), axis=-1)


def test_a_fusion_without_a_part_lets_the_map_through():
    g, t = np.abs(images((2, 4, 6, 8))), np.abs(images((2, 4, 6, 12)))
    cnn, transformer, product = seen_by_the_residual_block((), g, t)
    np.testing.assert_array_equal(cnn, g)
    np.testing.assert_array_equal(transformer, t)
    assert product.shape[-1] == 0
    cnn, transformer, _ = seen_by_the_residual_block(("spatial_attention",), g, t)
    np.testing.assert_array_equal(transformer, t)
    np.testing.assert_allclose(np.ptp(cnn / g, axis=-1), 0, atol=1e-5)  # a factor a position
    assert (cnn < g).all()
    cnn, transformer, product = seen_by_the_residual_block(("channel_attention", "product"), g, t)
    np.testing.assert_array_equal(cnn, g)
    np.testing.assert_allclose(np.ptp(transformer / t, axis=(1, 2)), 0, atol=1e-5)  # a channel
    assert (transformer < t).all()
    assert product.shape[-1] == 8
    assert bifusion.PARTS == variants.PARTS
    with pytest.raises(ValueError, match="BiFusion .*'sum'.* spatial_attention"):
        BiFusion(8, 4, parts=("sum",))


@pytest.mark.release
@pytest.mark.parametrize("row", [row for row in ABLATIONS if row == same_model(row)])
def test_every_row_trains_all_it_has_and_is_saved_and_resized(row, tmp_path):
    model = TransFuse(f"smallest:{row}", (32, 48, 3), dropout=0.0)
    model.compile(keras.optimizers.Adam(1e-3), run_eagerly=True)
    before = [variable.numpy() for variable in model.trainable_variables]
    model.fit(images(), (images()[..., :1] > 0).astype("float32"), verbose=0)
    for old, variable in zip(before, model.trainable_variables, strict=True):
        if not variable.path.endswith("/conv/bias"):  # normalisation undoes it
            assert np.abs(variable.numpy() - old).max() > 0, variable.path
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(images())["mask"], model(images())["mask"])
    larger = model.resized((64, 64))
    assert larger.weights[0] is model.weights[0] and len(larger.weights) == len(model.weights)
    assert larger(images((1, 64, 64, 3)))["mask"].shape == (1, 64, 64, 1)


def test_the_rows_are_put_together_as_the_table_says():
    x = images()

    def of(row):
        return TransFuse(f"smallest:{row}", (32, 48, 3))

    def decode(model, t0):
        return model.get_layer("mask_head")(model.get_layer("pup_decoder")(t0)[-1])

    alone = of("E.1")
    np.testing.assert_allclose(decode(alone, alone.cnn(x)[-1]), alone(x)["mask"], atol=1e-5)
    assert {layer.name for layer in alone.layers} & {"vit", "bifusion_16"} == set()
    alone = of("E.2")
    tokens = keras.ops.reshape(alone.vit(x), (2, 2, 3, -1))
    np.testing.assert_allclose(decode(alone, tokens), alone(x)["mask"], atol=1e-5)
    stacked = of("E.3")
    tokens = keras.ops.reshape(stacked.vit(stacked.cnn(x)[-1]), (2, 2, 3, -1))
    np.testing.assert_allclose(decode(stacked, tokens), stacked(x)["mask"], atol=1e-5)
    assert stacked.vit.get_layer("patch_embed").proj.kernel.shape == (1, 1, 256, 192)
    t2, _, _ = of("E.4").vit(x)
    assert of("E.4").vit.get_layer("features_0").kernel.shape == (3, 3, 3, 64)
    assert t2.shape == (2, 8, 12, 256)


def test_an_unknown_row_is_refused():
    with pytest.raises(ValueError, match="Unknown variant 'S:E.7'.* E.1, E.2"):
        resolve_variant("S:E.7")
    with pytest.raises(ValueError, match="CNN or a transformer"):
        Variant(None, "deit_tiny_patch16_224", 1, (16, 8, 8), sequential=True)
    with pytest.raises(ValueError, match="has none"):
        TransFuse("smallest:E.2", (32, 48, 3), cnn=TransFuse("smallest:E.1", (32, 48, 3)).cnn)
