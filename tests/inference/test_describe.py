"""What `transfuse inspect` tells of files of weights and of files that say nothing."""

import sys

import numpy as np
import pytest

from transfuse_keras.errors import InputError
from transfuse_keras.inference.describe import describe_exported, describe_file


def authors(grid=192, classes=1):
    """Names and shapes of some tensors of the authors' TransFuse-S, which has these numbers:
    16 residual blocks, 8 transformer blocks, 12x16 patches of 384 channels."""
    blocks = {1: 3, 2: 4, 3: 6, 4: 3}
    cnn = [f"resnet.layer{s}.{i}.conv1.weight" for s, n in blocks.items() for i in range(n)]
    vit = [f"transformer.blocks.{i}.norm1.weight" for i in range(8)]
    return {
        **{name: np.zeros(2, "float32") for name in (*cnn, *vit)},
        "transformer.pos_embed": np.zeros((1, grid, 384), "float32"),
        "resnet.bn1.num_batches_tracked": np.zeros((), "int64"),
        "final_2.1.conv.bias": np.zeros(classes, "float32"),
    }


def check_authors(found):
    assert found["variant"] == "a CNN of 16 residual blocks, 8 transformer blocks"
    assert found["input"].startswith("192 patches of 16x16 pixels")
    assert found["classes"] == "2 without names" and found["precision"] == "float32"
    assert found["parameters"] == f"{24 * 2 + 192 * 384 + 1 + 2:,}"


def test_weights_of_the_authors_code_are_told_without_keras(tmp_path):
    np.savez(tmp_path / "transfuse.npz", **authors(classes=2))
    code = sys.modules.copy()
    check_authors(describe_file(tmp_path / "transfuse.npz"))
    assert not {"keras", "tensorflow"} & (sys.modules.keys() - code.keys())


def test_a_checkpoint_of_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    state = {name: torch.from_numpy(x) for name, x in authors(classes=2).items()}
    torch.save(state, tmp_path / "transfuse.pth")
    check_authors(describe_file(tmp_path / "transfuse.pth"))


def test_other_weights_are_told_as_such(tmp_path):
    np.savez(tmp_path / "other.npz", weight=np.zeros((2, 3), "float16"))
    found = describe_file(tmp_path / "other.npz")
    assert found["parameters"] == "6" and found["precision"] == "float16"
    assert "no weights of a TransFuse" in found["task"]


@pytest.mark.parametrize(("form", "any_size"), [("onnx", False), ("onnx-any-size", True)])
def test_an_exported_file_tells_the_size_that_it_takes(form, any_size):
    about = {
        **{"format": form, "variant": "Ti", "task": "t", "classes": ["a"], "thresholds": [0.5]},
        "input": {"size": [32, 48], "channels": 3, "values": "RGB, 0-255"},
        **{"quantize": "none", "scores": None, "data": "phantom", "versions": {"keras": "3"}},
    }
    assert describe_exported("model.onnx", about)["classes"] == "a from 0.5"  # a former version
    found = describe_exported("model.onnx", about | {"sure": ["a"]})
    assert found["classes"] == "a from 0.5 (sure components)"
    assert "32x48" in found["input"] and ("any size" in found["input"]) == any_size
    assert found["scores"] == "not scored" and "artificial" in found["trained on"]


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("missing.onnx", "does not say"),
        ("note.txt", "does not say"),
        ("model.tflite", "damaged"),
        ("model.keras", "damaged"),
        ("model.npz", "damaged"),
        ("folder", "does not say"),
    ],
)
def test_what_is_no_model_is_one_sentence(name, word, tmp_path):
    (tmp_path / "folder").mkdir()
    if name not in ("missing.onnx", "folder"):
        (tmp_path / name).write_bytes(b"nothing that can be read")
    with pytest.raises(InputError, match=f"{name}.*{word}") as error:
        describe_file(tmp_path / name)
    assert "\n" not in str(error.value)
