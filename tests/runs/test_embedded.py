"""What a model file says of itself is found by the library of its format; nothing else moves."""

import json
import shutil

import numpy as np
import pytest

from transfuse_keras.errors import InputError
from transfuse_keras.inference import runtimes
from transfuse_keras.runs.embedded import read_embedded, write_embedded

ABOUT = {"task": 'hüft "x" <&>\n', "thresholds": [0.25, 1.0], "field": None}


def write_onnx(path):
    from onnx import TensorProto, helper, save

    values = [helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, 4, 4, 3]) for x in "xy"]
    graph = helper.make_graph([helper.make_node("Sigmoid", ["x"], ["y"])], "g", *zip(values))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    helper.set_model_props(model, {"other": "kept"})
    save(model, path)


def ask_onnx(path):
    import onnx

    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    found = {pair.key: pair.value for pair in model.metadata_props}
    assert found.pop("other") == "kept"
    return found


def write_openvino(path):
    import openvino
    from openvino import opset13 as opset

    image = opset.parameter([1, 4, 4, 3], np.float32, "x")
    model = openvino.Model([opset.sigmoid(image)], [image])
    model.set_rt_info("kept", "other")
    openvino.save_model(model, path)


def ask_openvino(path):
    import openvino

    model = openvino.Core().read_model(path)
    assert model.get_rt_info("other").astype(str) == "kept"
    return {"transfuse": model.get_rt_info("transfuse").astype(str)}


def write_safetensors(path):
    from safetensors.numpy import save_file

    save_file({"b": np.arange(3), "a": np.ones((2, 2), "float32")}, path, {"position_grid": "2x3"})


def ask_safetensors(path):
    from safetensors import safe_open
    from safetensors.numpy import load_file

    tensors = load_file(path)
    np.testing.assert_array_equal(tensors["b"], [0, 1, 2])
    assert set(tensors) == {"a", "b"} and tensors["a"].dtype == np.float32
    with safe_open(path, "np") as file:
        found = dict(file.metadata())
    assert found.pop("position_grid") == "2x3"
    return found


KINDS = {
    "model.onnx": (write_onnx, ask_onnx),
    "model.xml": (write_openvino, ask_openvino),
    "model.safetensors": (write_safetensors, ask_safetensors),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_is_written_into_a_file_its_own_library_finds(name, tmp_path):
    create, ask = KINDS[name]
    path = tmp_path / name
    create(path)
    before = {file.name for file in tmp_path.iterdir()}
    assert read_embedded(path) is None
    for content in ({"task": "another"}, ABOUT):  # the second in place of the first
        write_embedded(path, content)
        assert read_embedded(path) == content
        assert {key: json.loads(text) for key, text in ask(path).items()} == {"transfuse": content}
    assert {file.name for file in tmp_path.iterdir()} == before


def test_a_litert_file_computes_the_same_and_says_what_it_is(litert_file, tmp_path):
    from tensorflow.lite.python import schema_py_generated as schema

    path = tmp_path / "model.tflite"
    shutil.copy(litert_file, path)
    assert read_embedded(path) is None
    write_embedded(path, {"task": "another"})
    write_embedded(path, ABOUT)
    assert read_embedded(path) == ABOUT
    content = path.read_bytes()
    assert len(content) < litert_file.stat().st_size + 1000
    model = schema.Model.GetRootAs(content)
    names = [model.Metadata(i).Name() for i in range(model.MetadataLength())]
    assert names.count(b"transfuse") == 1 and b"min_runtime_version" in names
    buffer = model.Buffers(model.Metadata(names.index(b"transfuse")).Buffer())
    assert json.loads(buffer.DataAsNumpy().tobytes()) == ABOUT
    image = np.random.default_rng(0).uniform(0, 255, (1, 32, 48, 3)).astype("float32")
    found, wanted = (runtimes.litert(file, 1)[1](image) for file in (path, litert_file))
    np.testing.assert_array_equal(found, wanted)


def test_a_saved_model_keeps_it_among_its_assets(tmp_path):
    (tmp_path / "saved_model.pb").touch()
    assert read_embedded(tmp_path) is None
    write_embedded(tmp_path, ABOUT)
    assert read_embedded(tmp_path) == ABOUT
    assert (tmp_path / "assets.extra" / "transfuse.json").is_file()


@pytest.mark.parametrize("name", [*KINDS, "model.tflite"])
@pytest.mark.parametrize("content", [b"", b"damaged", b"\xff" * 99])
def test_a_damaged_file_is_told(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    if name == "model.onnx" and not content:
        assert read_embedded(tmp_path / name) is None  # an empty message of Protocol Buffers
        return
    with pytest.raises(InputError, match=f"{name}: damaged") as error:
        read_embedded(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_file_of_another_kind_says_nothing(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    assert read_embedded(tmp_path / "a.png") is None
    assert read_embedded(tmp_path / "missing.onnx") is None
    assert read_embedded(tmp_path) is None
