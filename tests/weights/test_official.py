import json
import re
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import FIXTURES
from gradients import loss_and_gradients, to_numpy
from parity import input_image, relative_error, state_from_names
from safetensors.numpy import save

from transfuse_keras.export.formats import export_pytorch
from transfuse_keras.layers.patch_embedding import PatchEmbedding
from transfuse_keras.model.transfuse import TransFuse
from transfuse_keras.weights import load_official, official_state
from transfuse_keras.weights.assign import describe_resizing, keras_layout, resize_positions
from transfuse_keras.weights.official import official_names

SPECS = json.loads((FIXTURES / "official_state_spec.json").read_text())
SPEC = SPECS["TransFuse_S_classes1"]


@pytest.fixture(scope="module")
def model():
    """TransFuse-S with the golden files' weights; tests that change it load them again."""
    model = TransFuse("S", dropout=0.0)
    load_official(model, state_from_names(SPEC))
    return model


def test_three_maps_are_the_authors(model):
    golden = np.load(FIXTURES / "official_TransFuse_S_classes1_seed1.npz")
    outputs = model(input_image((1, 3, 192, 256)), training=False)
    assert set(outputs) == {"mask", "transformer", "fusion"}
    for head, logits in outputs.items():
        wanted = golden[head].transpose(0, 2, 3, 1)
        assert logits.shape == wanted.shape
        assert relative_error(to_numpy(logits), wanted) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "step"), [("TransFuse_L", (192, 256), 1), ("TransFuse_L_384", (384, 512), 2)]
)
def test_three_maps_of_the_released_l_are_the_authors(name, size, step):
    golden = np.load(FIXTURES / f"official_{name}_classes1_seed1.npz")
    model = TransFuse("L-R50", (*size, 3))
    load_official(model, state_from_names(SPECS[f"{name}_classes1"]))
    for head, logits in model(input_image((1, 3, *size)), training=False).items():
        wanted = golden[head].transpose(0, 2, 3, 1)
        assert relative_error(to_numpy(logits)[:, ::step, ::step], wanted) < 1e-4


def test_export_is_the_authors_state_dict(model, tmp_path):
    """Names, shapes, types and, but for the unused class token, every value."""
    from safetensors.numpy import load_file

    state = state_from_names(SPEC, seed=6)
    load_official(model, state)
    export_pytorch(model, tmp_path / "model.safetensors")
    written = load_file(tmp_path / "model.safetensors")
    assert len(written) == 598
    assert {name: list(array.shape) for name, array in written.items()} == SPEC
    for name, array in written.items():
        assert array.dtype == state[name].dtype
        if name != "transformer.cls_token":
            np.testing.assert_array_equal(array, state[name])


def test_every_weight_has_the_authors_name_once(model):
    used = {name for name in SPEC if not name.endswith(("num_batches_tracked", "cls_token"))}
    assert set(official_names(model)) == used
    assert len(model.weights) == len(used)


def test_training_step_is_the_authors(model):
    """Losses, gradients, statistics and weights after one step of Adam.

    The gradient of this network is ill-conditioned: in float64, moving the input by 1e-7 moves
    it by 0.3 % (ReLUs change sign behind normalisation over two images), so two float32
    programs can agree no better. The losses and the last layer do not suffer from that.
    """
    golden = np.load(FIXTURES / "official_trainstep_S_seed1.npz")
    load_official(model, state_from_names(SPEC))
    images = input_image((2, 3, 192, 256), key=b"train")
    masks = golden["mask"].transpose(0, 2, 3, 1)
    # Keras adds epsilon before the bias correction, PyTorch after it
    epsilon = 1e-7 * (1 - 0.999) ** 0.5
    adam = keras.optimizers.Adam(1e-4, beta_1=0.5, epsilon=epsilon, global_clipnorm=2.0)
    model.compile(adam)

    loss, gradients = loss_and_gradients(model, images, masks)
    parts = {metric.name: float(metric.result()) for metric in model.metrics}
    heads = ["mask_loss", "transformer_loss", "fusion_loss"]
    np.testing.assert_allclose([parts[head] for head in heads], golden["part_losses"], rtol=1e-5)
    np.testing.assert_allclose(float(loss), golden["loss"], rtol=1e-5)

    norm = np.linalg.norm([np.linalg.norm(gradient) for gradient in gradients])
    np.testing.assert_allclose(norm, golden["grad_norm_before_clip"], rtol=1e-3)
    names = {id(variable): name for name, variable in official_names(model).items()}
    ours = {
        names[id(variable)]: gradient
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True)
    }
    for name, wanted in zip(golden["grad_norm_names"], golden["grad_norms"], strict=True):
        # 0.1 % of the whole norm is where rounding noise of the smallest tensors sits
        np.testing.assert_allclose(np.linalg.norm(ours[name]), wanted, rtol=0.02, atol=1e-3 * norm)
    for name, wanted in tensors(golden, "grad/", ours).items():
        # a bias in front of a normalisation has no gradient but rounding noise
        if name != "up2.conv.identity.0.bias":
            tolerance = 1e-4 if name == "final_2.1.conv.weight" else 0.05
            assert relative_error(ours[name], wanted) < tolerance, name
            assert cosine(ours[name], wanted) > 0.999, name

    before = state_from_names(SPEC)
    adam.apply([*map(keras.ops.convert_to_tensor, gradients)], model.trainable_variables)
    after = {name: to_numpy(variable) for name, variable in official_names(model).items()}
    for name, wanted in tensors(golden, "after/", after).items():
        if name.endswith("running_var"):
            # PyTorch keeps the unbiased variance: n / (n - 1) with at least n = 2 * 12 * 16
            assert relative_error(after[name], wanted) < 5e-4, name
        elif name.endswith("running_mean"):
            assert relative_error(after[name], wanted) < 1e-5, name
        else:
            # the first step of Adam is the learning rate times the sign of each gradient
            step = wanted - keras_layout(before[name], wanted.shape)
            ours_step = after[name] - keras_layout(before[name], wanted.shape)
            clear = np.abs(step) > 0.9e-4
            assert np.mean(clear & (np.abs(ours_step - step) > 2e-6)) < 0.02, name


def tensors(golden, prefix, ours):
    """The golden arrays under `prefix`, in the layout of ours."""
    names = [key.removeprefix(prefix) for key in golden.files if key.startswith(prefix)]
    return {name: keras_layout(golden[prefix + name], ours[name].shape) for name in names}


def cosine(a, b):
    return np.vdot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b))


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_other_seeds_classes_and_sizes_load_from_files(tmp_path, kind):
    from safetensors.numpy import save_file

    state = state_from_names(SPECS["TransFuse_S_classes4"], seed=7)
    path = tmp_path / f"TransFuse-19_best.{kind}"
    np.savez(path, **state) if kind == "npz" else save_file(state, path)
    model = TransFuse("S", (224, 224, 3), classes=4, weights=path)
    weights = official_names(model)
    wanted = state["final_2.1.conv.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(weights["final_2.1.conv.weight"], wanted)
    positions = resize_positions(state["transformer.pos_embed"], (14, 14))
    np.testing.assert_allclose(weights["transformer.pos_embed"], positions, atol=1e-6)


def test_position_grids():
    def grid(tokens, target):
        positions = np.arange(tokens, dtype="float32")[None, :, None]
        return resize_positions(positions, target)[0, ..., 0]

    np.testing.assert_array_equal(grid(192, (12, 16)), np.arange(192).reshape(12, 16))
    np.testing.assert_array_equal(grid(196, (14, 14)), np.arange(196).reshape(14, 14))
    np.testing.assert_array_equal(grid(60, (6, 10)), np.arange(60).reshape(6, 10))
    np.testing.assert_array_equal(grid(192, (16, 12)), np.arange(192).reshape(16, 12))
    np.testing.assert_allclose(grid(4, (3, 3)), [[0, 0.5, 1], [1, 1.5, 2], [2, 2.5, 3]])
    corners = grid(768, (48, 64))[[0, 0, -1, -1], [0, -1, 0, -1]]
    np.testing.assert_allclose(corners, [0, 31, 767 - 31, 767], rtol=1e-6)  # 24x32, the authors'
    with pytest.raises(ValueError, match="7 position embeddings .*3x3"):
        grid(7, (3, 3))
    positions = np.arange(192, dtype="float32")[None, :, None]
    told = resize_positions(positions, (16, 16), stored=(8, 24))[0, ..., 0]
    np.testing.assert_allclose(told[[0, 0, -1], [0, -1, 0]], [0, 23, 168])
    with pytest.raises(ValueError, match="no grid of 8x23"):
        resize_positions(positions, (16, 16), stored=(8, 23))


@pytest.mark.parametrize(
    ("tokens", "own", "stored", "said"),
    [
        (144, (9, 16), None, "144 positions, taken .* own grid of 9x16, not for 12x12"),
        (192, (16, 12), None, "own grid of 16x12, not for 12x16"),
        (144, (9, 16), (9, 16), None),
        (144, (12, 12), None, None),
        (96, (8, 12), None, None),
        (144, (10, 16), None, "resized from 12x12 to 10x16"),
    ],
)
def test_it_is_said_which_of_two_grids_was_taken(tokens, own, stored, said):
    found = describe_resizing("pos_embed", tokens, own, stored)
    assert re.search(said, found) if said else found is None


SIZES = [(144, 256), (288, 512), (256, 192), (512, 384), (192, 256), (384, 512), (224, 224)]
SIZES += [(16 * rows, 16 * columns) for rows in (1, 2, 9, 12, 24) for columns in (3, 4, 16, 27, 36)]


def of_branch(vit):
    """What `load_official` and `official_state` ask of a model, with a transformer alone."""
    return SimpleNamespace(layers=[vit], weights=vit.weights, classes=1, white_balance=None)


def test_positions_come_back_at_every_input_size(tmp_path, capsys):
    """Written and read at 30 sizes; 9a x 16a and portrait ones were taken for another grid."""
    path = tmp_path / "own.safetensors"
    for size in SIZES:
        image = keras.Input((*size, 3))
        ours, theirs = (
            keras.Model(image, PatchEmbedding(4, name="patch_embed")(image), name="vit")
            for _ in range(2)
        )
        export_pytorch(of_branch(ours), path)
        load_official(of_branch(theirs), path)
        for one, other in zip(ours.weights, theirs.weights, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=str(size))
        assert "resized" not in capsys.readouterr().out
    assert len(set(SIZES)) >= 30


@pytest.mark.parametrize("size", [(144, 256), (64, 48)])
def test_an_exported_model_comes_back_with_its_probabilities(tmp_path, smallest, size, capsys):
    model, again = (smallest((*size, 3)) for _ in range(2))
    export_pytorch(model, tmp_path / "own.safetensors")
    load_official(again, tmp_path / "own.safetensors")
    image = input_image((1, 3, *size))
    np.testing.assert_array_equal(again.mask_model(image), model.mask_model(image))
    # into another size: from the grid that the file names, which is said
    other = smallest((64, 64, 3))
    capsys.readouterr()
    load_official(other, tmp_path / "own.safetensors")
    rows, columns = (side // 16 for side in size)
    assert f"resized from {rows}x{columns} to 4x4" in capsys.readouterr().out
    stored, found = (official_names(x)["transformer.pos_embed"] for x in (model, other))
    corners = stored[0][:: rows - 1, :: columns - 1]
    np.testing.assert_allclose(found[0, ::3, ::3], corners, atol=1e-6)


@pytest.mark.release
def test_the_same_probabilities_come_back_at_every_input_size(tmp_path, smallest):
    for size in SIZES:
        model, again = (smallest((*size, 3)) for _ in range(2))
        export_pytorch(model, tmp_path / "own.safetensors")
        load_official(again, tmp_path / "own.safetensors")
        image = input_image((1, 3, *size))
        np.testing.assert_array_equal(again.mask_model(image), model.mask_model(image), str(size))


def test_a_grid_that_is_none_is_refused(tmp_path, smallest):
    model, path = smallest(), tmp_path / "own.safetensors"
    for grid, word in (("2x4", "2x4"), ("two", "two")):
        path.write_bytes(save(official_state(model), {"position_grid": grid}))
        with pytest.raises(ValueError, match=f"own.safetensors: .*{word}"):
            load_official(model, path)


def test_checkpoints_may_be_wrapped_and_prefixed(model):
    state = state_from_names(SPEC, seed=9)
    load_official(model, {"state_dict": {f"module.{name}": t for name, t in state.items()}})
    stem = state["resnet.conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(official_names(model)["resnet.conv1.weight"], stem)


def test_skip_heads_keeps_ours_and_says_so(model, capsys):
    state = state_from_names(SPECS["TransFuse_S_classes4"], seed=3)
    with pytest.raises(ValueError, match="4 classes .* 1; skip_heads=True"):
        load_official(model, state)
    weights = official_names(model)
    head = weights["final_2.1.conv.weight"].numpy()
    load_official(model, state, skip_heads=True)
    assert "skip_heads" in capsys.readouterr().out
    np.testing.assert_array_equal(weights["final_2.1.conv.weight"], head)
    stem = state["resnet.conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(weights["resnet.conv1.weight"], stem)


def test_a_mismatch_is_listed_and_loads_nothing(model):
    state = state_from_names(SPEC, seed=5)
    state["resnet.bn1.bias"] = state["resnet.bn1.bias"][:3]
    state["resnet.fc.weight"] = np.zeros((2, 2), "float32")
    del state["up_c.fc1.bias"]
    stem = official_names(model)["resnet.conv1.weight"].numpy()
    with pytest.raises(ValueError) as error:
        load_official(model, state)
    assert "missing up_c.fc1.bias" in str(error.value)
    assert "unexpected resnet.fc.weight" in str(error.value)
    assert "resnet.bn1.bias has shape (3,)" in str(error.value)
    np.testing.assert_array_equal(official_names(model)["resnet.conv1.weight"], stem)
