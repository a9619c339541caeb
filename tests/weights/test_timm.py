import numpy as np
import pytest
from conftest import FIXTURES
from parity import TIMM_SPECS, input_image, relative_error, state_from_names

import transfuse_keras as tk
from transfuse_keras.weights.timm import timm_names


def golden(name):
    return np.load(FIXTURES / f"timm_{name}_seed1.npz")


CNNS = [
    "resnet18",
    "resnet34",
    "resnet50",
    "res2net50_26w_4s",
    "resnetv2_50x1_bit",
    "tf_efficientnet_lite0",
]
VITS = ["deit_tiny_patch16_224", "deit_small_patch16_224"]
LARGE_VITS = ["deit_base_patch16_224", "deit_base_patch16_384", "vit_base_patch16_224"]


@pytest.mark.parametrize("name", CNNS)
def test_cnn_maps_are_timms(name):
    cnn = tk.create_cnn(name, input_shape=(96, 128, 3))
    tk.load_timm(cnn, state_from_names(TIMM_SPECS[name]))
    maps = cnn(input_image((1, 3, 96, 128)))
    for stride, ours in zip((4, 8, 16), maps, strict=True):
        wanted = golden(name)[f"stride{stride}"].transpose(0, 2, 3, 1)
        assert relative_error(ours, wanted) < 1e-4


@pytest.mark.parametrize(
    "name", [*VITS, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE_VITS)]
)
def test_tokens_are_timms(name):
    depth, size = int(golden(name)["depth"]), int(name[-3:])
    vit = tk.create_vit(name, input_shape=(size, size, 3), depth=depth)
    tk.load_timm(vit, state_from_names(TIMM_SPECS[name]))
    tokens = np.asarray(vit(input_image((1, 3, size, size))))
    assert relative_error(tokens[:, ::7], golden(name)["tokens_every_7th"]) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CNNS, *VITS, *LARGE_VITS])
def test_features_are_those_of_timm_itself(name):
    """Another seed and size against the installed timm, where there is one."""
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    size = 64 if name in CNNS else int(name[-3:])
    state, images = state_from_names(TIMM_SPECS[name], seed=11), input_image((2, 3, size, size), 11)
    theirs = timm.create_model(name, num_classes=1000).eval()
    theirs.load_state_dict({key: torch.tensor(array) for key, array in state.items()})
    with torch.no_grad():
        channels_first = torch.tensor(images.transpose(0, 3, 1, 2).copy())
        if name in CNNS:
            ours = tk.create_cnn(name, (size, size, 3))
            maps = theirs.forward_intermediates(channels_first, intermediates_only=True)[1:4]
            wanted = [each.numpy().transpose(0, 2, 3, 1) for each in maps]
        else:
            ours = tk.create_vit(name, (size, size, 3))
            tokens = theirs.patch_embed(channels_first) + theirs.pos_embed[:, 1:]
            wanted = [theirs.norm(theirs.blocks(tokens)).numpy()]
    tk.load_timm(ours, state)
    found = ours(images)
    for each, their_features in zip(found if name in CNNS else [found], wanted, strict=True):
        assert relative_error(each, their_features) < 1e-4


def test_branches_of_a_model_load_too(smallest):
    model = smallest((32, 48, 3))
    tk.load_timm(model.cnn, state_from_names(TIMM_SPECS["resnet18"], seed=4))
    tk.load_timm(model.vit, state_from_names(TIMM_SPECS["deit_tiny_patch16_224"], seed=4))
    state = state_from_names(TIMM_SPECS["deit_tiny_patch16_224"], seed=4)
    kernel = timm_names(model.vit)["blocks.0.attn.qkv.weight"]
    np.testing.assert_array_equal(kernel, state["blocks.0.attn.qkv.weight"].T)


def test_the_wrong_model_is_refused():
    cnn = tk.create_cnn("resnet18", input_shape=(32, 32, 3))
    with pytest.raises(ValueError, match=r"unexpected layer1.2.conv1.weight|missing"):
        tk.load_timm(cnn, state_from_names(TIMM_SPECS["resnet50"]))
    with pytest.raises(ValueError, match="missing conv1.weight"):
        tk.load_timm(cnn, state_from_names(TIMM_SPECS["deit_tiny_patch16_224"]))


def test_pytorch_files_wrapped_or_not(tmp_path):
    torch = pytest.importorskip("torch")
    state = state_from_names(TIMM_SPECS["resnet18"], seed=2)
    tensors = {f"module.{name}": torch.tensor(array) for name, array in state.items()}
    torch.save({"model": tensors, "epoch": 3}, tmp_path / "wrapped.pth")
    cnn = tk.create_cnn("resnet18", input_shape=(32, 32, 3))
    tk.load_timm(cnn, tmp_path / "wrapped.pth")
    wanted = state["conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(timm_names(cnn)["conv1.weight"], wanted)


class Malicious:
    def __reduce__(self):
        return (print, ("code ran",))


def test_a_file_that_would_run_code_is_refused(tmp_path, capsys):
    torch = pytest.importorskip("torch")
    torch.save({"conv1.weight": Malicious()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="evil.pth"):
        tk.load_timm(tk.create_cnn("resnet18", input_shape=(32, 32, 3)), tmp_path / "evil.pth")
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize(("name", "size"), [("resnet18", 32), ("deit_tiny_patch16_224", 32)])
@pytest.mark.parametrize(("channels", "context"), [(1, 1), (1, 2), (2, 1), (3, 1)])
def test_of_equal_slices_an_inflated_branch_makes_what_it_makes_of_one(
    name, size, channels, context, caplog
):
    state, slices = state_from_names(TIMM_SPECS[name]), 2 * context + 1
    depth = {} if name == "resnet18" else {"depth": 1}
    create = tk.create_vit if depth else tk.create_cnn
    image = np.random.default_rng(0).standard_normal((1, size, size, channels)).astype("float32")
    one = create(name, (size, size, channels), **depth)
    tk.load_timm(one, state)
    caplog.clear()
    several = create(name, (size, size, slices * channels), **depth)
    with caplog.at_level("INFO"):
        tk.load_timm(several, state, context=context)
    assert f"inflated to {slices} slices" in caplog.text
    ours, theirs = several(np.tile(image, slices)), one(image)
    for a, b in zip(*(x if isinstance(x, list) else [x] for x in (ours, theirs)), strict=True):
        assert relative_error(a, b) < 1e-5
    kernel = next(x for x in several.weights if x.shape[2:3] == (slices * channels,))
    parts = np.split(np.asarray(kernel), slices, axis=2)  # every slice has the same weights
    np.testing.assert_array_equal(parts[0], parts[-1])


def test_a_run_on_slices_alone_starts_one_with_their_neighbours(tmp_path):
    def unet(channels):
        return tk.UNet("resnet18", (32, 32, channels), widths=(8, 8, 8))

    alone, several, again = unet(2), unet(6), unet(6)
    alone.save(tmp_path / "alone.keras")
    tk.load_weights(several, tmp_path / "alone.keras", context=1)
    image = np.random.default_rng(0).standard_normal((1, 32, 32, 2)).astype("float32")
    assert relative_error(several(np.tile(image, 3))["mask"], alone(image)["mask"]) < 1e-5
    several.save(tmp_path / "several.keras")
    tk.load_weights(again, tmp_path / "several.keras", context=1)  # fits as it is
    np.testing.assert_array_equal(again.cnn.weights[0], several.cnn.weights[0])
    with pytest.raises(ValueError, match=r"several\.keras: .*does not fit"):
        tk.load_weights(alone, tmp_path / "several.keras")
