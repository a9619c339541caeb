"""The `weights` argument: own runs, folders of published weights, hostile files."""

import json
import zipfile
from dataclasses import asdict

import keras
import numpy as np
import pytest
from conftest import SMALLEST
from parity import TIMM_SPECS, state_from_names
from safetensors.numpy import save_file

from transfuse_keras.backbones import create_cnn
from transfuse_keras.errors import InputError
from transfuse_keras.model.load import load_model, load_weights
from transfuse_keras.model.transfuse import TransFuse
from transfuse_keras.model.variants import VARIANTS
from transfuse_keras.weights import PUBLISHED, load_timm, official_state, readers
from transfuse_keras.weights.assign import adapt_stem, torch_layout
from transfuse_keras.weights.official import official_names
from transfuse_keras.weights.readers import read_tensors

CNN, VIT = "resnet18", "deit_tiny_patch16_224"
LAMBDA = {
    "module": "keras.layers",
    "class_name": "Lambda",
    "registered_name": None,
    "config": {"function": {"class_name": "__lambda__", "config": {"value": "4wAAAAA="}}},
}
STEMS = ["resnet.conv1.weight", "transformer.patch_embed.proj.weight"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["own.keras", "own.weights.h5"])
def test_own_weights_load_by_path(tmp_path, smallest, name):
    model = smallest()
    save_to = model.save if name.endswith(".keras") else model.save_weights
    save_to(tmp_path / name)
    loaded = smallest(weights=tmp_path / name)
    for ours, theirs in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ValueError, match=name):
        smallest(classes=3, weights=tmp_path / name)


def test_a_file_without_names_cannot_skip_heads(tmp_path, smallest):
    model = smallest()
    model.save_weights(tmp_path / "own.weights.h5")
    with pytest.raises(ValueError, match="own.weights.h5: .*skip heads"):
        load_weights(model, tmp_path / "own.weights.h5", skip_heads=True)


@pytest.mark.slow
def test_own_run_into_other_classes_size_and_channels(tmp_path, smallest, capsys):
    own = smallest((32, 96, 3), classes=2)
    own.save(tmp_path / "model.keras")  # the folder is now like a run's
    tuned = smallest((64, 64, 1), classes=3)
    head = official_state(tuned)["final_2.1.conv.weight"]
    load_weights(tuned, tmp_path, skip_heads=True)
    printed = capsys.readouterr().out
    assert "skip_heads" in printed
    assert all(f"{stem}: made for RGB" in printed for stem in STEMS)

    ours, theirs = official_state(tuned), official_state(own)
    np.testing.assert_array_equal(ours["final_2.1.conv.weight"], head)
    np.testing.assert_array_equal(ours["up_c.fc1.weight"], theirs["up_c.fc1.weight"])
    for stem in STEMS:
        summed = theirs[stem].sum(axis=1, keepdims=True)
        np.testing.assert_allclose(ours[stem], summed, atol=1e-6)
    # 2x6 stored positions on 4x4: corners keep their values
    positions = theirs["transformer.pos_embed"].reshape(2, 6, -1)
    found = ours["transformer.pos_embed"].reshape(4, 4, -1)
    np.testing.assert_allclose(found[::3, ::3], positions[:, ::5], atol=1e-6)


def test_adapted_stems_answer_grey_images_as_before():
    weight = np.random.default_rng(0).standard_normal((5, 3, 7, 7))
    grey = np.random.default_rng(1).standard_normal((7, 7))
    wanted = np.einsum("ocij,ij->o", weight, grey)
    for channels in (1, 3, 6, 9):
        found = np.einsum("ocij,ij->o", adapt_stem(weight, channels), grey)
        np.testing.assert_allclose(found, wanted)
    two = adapt_stem(weight, 2)
    np.testing.assert_allclose(two, 1.5 * weight[:, :2])


def test_a_folder_holds_both_branches(tmp_path, smallest):
    states = {name: state_from_names(TIMM_SPECS[name], seed=8) for name in (CNN, VIT)}
    np.savez(tmp_path / f"{CNN}-f37072fd.npz", **states[CNN])
    with pytest.raises(ValueError, match=f"0 weights files .*{VIT}"):
        smallest(weights=tmp_path)
    save_file(states[VIT], tmp_path / f"{VIT}.fb_in1k.safetensors")
    loaded = official_names(smallest(weights=tmp_path))
    wanted = states[CNN]["conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(loaded["resnet.conv1.weight"], wanted)
    wanted = states[VIT]["blocks.0.mlp.fc1.weight"].T
    np.testing.assert_array_equal(loaded["transformer.blocks.0.mlp.fc1.weight"], wanted)


def vgg16_state():
    """torchvision's state_dict of VGG16, with its classifier's names."""
    shapes, channels, module = {}, 3, 0
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            shapes[f"features.{module}.weight"] = (width, channels, 3, 3)
            shapes[f"features.{module}.bias"] = (width,)
            channels, module = width, module + 2
        module += 1
    return state_from_names({**shapes, "classifier.0.weight": (8, 8), "classifier.0.bias": (8,)})


def test_the_branches_of_the_papers_ablations_load(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(VARIANTS, "smallest", SMALLEST)
    states = {name: state_from_names(TIMM_SPECS[name]) for name in (CNN, VIT)}
    states["vgg16"] = vgg16_state()
    for name, state in states.items():
        save_file(state, tmp_path / f"{name}.safetensors")
    for row, branches in {
        "E.1": {CNN},
        "E.2": {VIT},
        "E.3": {CNN, VIT},
        "E.4": {CNN, "vgg16"},
    }.items():
        loaded = official_names(TransFuse(f"smallest:{row}", (32, 32, 3), weights=tmp_path))
        patches = loaded.pop("transformer.patch_embed.proj.weight", None)
        if row == "E.3":
            assert patches.shape == (1, 1, 256, 192)
        said = "The transformer is on top of the CNN: its patch embedding keeps its weights."
        assert (said in capsys.readouterr().out) == (row == "E.3")
        for name, tensor in (
            (CNN, "conv1.weight"),
            (VIT, "blocks.0.mlp.fc1.weight"),
            ("vgg16", "features.28.weight"),
        ):
            variable = loaded.get(f"{'resnet' if name == CNN else 'transformer'}.{tensor}")
            assert (variable is not None) == (name in branches)
            if variable is not None:
                np.testing.assert_array_equal(
                    torch_layout(tensor, np.asarray(variable)), states[name][tensor]
                )


def test_unusable_files_are_named(tmp_path, smallest):
    model = smallest()
    for name in ("damaged.npz", "damaged.keras", "damaged.weights.h5", "damaged.safetensors"):
        (tmp_path / name).write_bytes(b"PK not really")
        with pytest.raises(ValueError, match=name) as error:
            load_weights(model, tmp_path / name)
        assert "\n" not in str(error.value)
    for name in ("absent.safetensors", "absent.keras", "absent.weights.h5", "other.doc"):
        with pytest.raises(ValueError, match=name):
            load_weights(model, tmp_path / name)


def test_every_published_row_is_complete():
    branches = {name.partition(".")[0] for name in PUBLISHED}
    assert branches - {"vgg16"} == set(TIMM_SPECS)  # it is checked against keras.applications
    for row in PUBLISHED.values():
        assert row.revision == "main" or len(row.revision) == 40
        assert row.file.endswith(".safetensors") and row.licence and row.trained_on


def write_keras(path, config):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))


def test_a_keras_file_that_holds_something_else_is_refused_before_it_is_built(tmp_path):
    path = tmp_path / "a.keras"
    image = keras.Input((4,))
    keras.Model(image, keras.layers.Lambda(lambda x: 2 * x)(image)).save(path)
    with pytest.raises(InputError, match="a.keras: .*a Functional, not"):
        load_model(path)
    write_keras(path, {"module": "os", "class_name": "system", "config": {"command": "x"}})
    with pytest.raises(InputError, match="a.keras: .*a system, not"):
        load_model(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": "imagenet"}, "names weights"),
        ({"position_grid": [2**15, 2**15]}, "at most"),
        ({"classes": 2**40}, "classes"),
        ({"variant": {**asdict(SMALLEST), "widths": [2**20, 8, 8]}}, "widths"),
        ({"variant": {**asdict(SMALLEST), "depth": 10**6}}, "blocks"),
        ({"cnn": LAMBDA}, "lambda"),
    ],
)
def test_a_hostile_configuration_is_refused(tmp_path, smallest, change, message):
    path = tmp_path / "a.keras"
    model = smallest()
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        content = json.loads(archive.read("config.json"))
        weights = archive.read("model.weights.h5")
    content["config"] |= change
    write_keras(path, content)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("model.weights.h5", weights)
    with pytest.raises(InputError, match=rf"a.keras: damaged .*{message}") as error:
        load_model(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.astype("U9"), "conv1.weight is of <U9"),
        (lambda x: x.astype("complex64"), "conv1.weight is of complex64"),
        (lambda x: x * np.nan, "conv1.weight holds undefined values"),
        (lambda x: x[0, 0, 0, 0], r"conv1.weight has shape \(\)"),
    ],
)
def test_tensors_that_are_no_weights_leave_the_branch_as_it_is(tmp_path, change, message):
    state = state_from_names(TIMM_SPECS[CNN], seed=8)
    state["conv1.weight"] = change(state["conv1.weight"])
    np.savez(tmp_path / "a.npz", **state)
    branch = create_cnn(CNN, (32, 32, 3))
    before = branch.get_weights()
    with pytest.raises(ValueError, match=f"a.npz: .*{message}"):
        load_timm(branch, tmp_path / "a.npz")
    assert all(map(np.array_equal, before, branch.get_weights()))


def test_an_archive_that_unpacks_to_gigabytes_is_refused(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(10_000))
    monkeypatch.setattr(readers, "LARGEST_WEIGHTS", 79_999)
    with pytest.raises(ValueError, match="a.npz: .*unpacks to more"):
        read_tensors(tmp_path / "a.npz")


def test_weights_of_another_model_are_one_sentence(tmp_path, smallest):
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save_weights(
        tmp_path / "a.weights.h5"
    )
    with pytest.raises(ValueError, match="a.weights.h5: .*weights of") as error:
        load_weights(smallest(), tmp_path / "a.weights.h5")
    assert "\n" not in str(error.value)


def test_a_pytorch_file_that_holds_no_tensors_by_name_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save([torch.zeros(2)], tmp_path / "a.pth")
    with pytest.raises(ValueError, match="a.pth: .*a list, not tensors"):
        read_tensors(tmp_path / "a.pth")
