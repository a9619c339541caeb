"""SavedModel, ONNX and OpenVINO give what the Keras model gives."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openvino
import pytest
import tensorflow as tf
from lively import pictures

import transfuse_keras as tk
from transfuse_keras.data.normalization import keeps_z_scores
from transfuse_keras.data.resize import resize_image
from transfuse_keras.errors import InputError
from transfuse_keras.export.formats import FORMATS
from transfuse_keras.export.saved_model import export_saved_model, resize
from transfuse_keras.export.serving import builtin_resizing
from transfuse_keras.inference import runtimes
from transfuse_keras.inference.predictor import as_predictor, load_predictor
from transfuse_keras.layers.upsampling import resize_bilinear
from transfuse_keras.tasks import prostate

pytestmark = pytest.mark.slow  # conversions take seconds each

SIZE = (32, 48)


@pytest.fixture(scope="module")
def images():
    return pictures(3, SIZE)


@pytest.fixture(scope="module")
def wanted(lively_model, images):
    maps = as_predictor(lively_model).run(images)
    assert np.ptp(maps) > 0.5
    return maps


def operations():
    """The kinds of operations of a graph that resizes."""
    graph = tf.function(lambda x: resize_bilinear(x, (8, 12))).get_concrete_function(
        tf.TensorSpec((1, 4, 6, 2))
    )
    return {operation.type for operation in graph.graph.get_operations()}


@pytest.mark.parametrize("size", [(10, 18), (5, 36), (3, 4), (17, 9), (5, 9), (1, 1)])
def test_the_builtin_operation_resizes_as_the_products_do(size):
    x = np.random.default_rng(0).standard_normal((2, 5, 9, 3)).astype("float32")
    products = resize_bilinear(x, size)
    with builtin_resizing():
        found = resize_bilinear(x, size)
    np.testing.assert_allclose(found, products, atol=1e-5)


def test_graphs_resize_by_the_builtin_operation_within_the_context_only():
    assert "ResizeBilinear" not in operations() and any("MatMul" in x for x in operations())
    with builtin_resizing():
        assert "ResizeBilinear" in operations() and not any("MatMul" in x for x in operations())
        with ThreadPoolExecutor(1) as other:
            assert "ResizeBilinear" not in other.submit(operations).result()
    assert "ResizeBilinear" not in operations()
    with pytest.raises(RuntimeError), builtin_resizing():
        raise RuntimeError
    assert "ResizeBilinear" not in operations()


def test_onnx_gives_the_same_for_one_image_or_several(exported, images, wanted):
    import onnx

    path = exported("onnx")
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]
    graph = onnx.load(path)
    onnx.checker.check_model(graph, full_check=True)
    assert {node.domain for node in graph.graph.node} <= {"", "ai.onnx"}
    for (value,), name in ((graph.graph.input, "image"), (graph.graph.output, "probabilities")):
        assert value.name == name and value.type.tensor_type.shape.dim[0].dim_param == "batch"
    (entry,) = graph.graph.input
    assert entry.name == "image" and len(graph.graph.output) == 1
    assert [axis.dim_value for axis in entry.type.tensor_type.shape.dim] == [0, *SIZE, 3]
    shape, run = runtimes.onnx(path)
    assert shape == [*SIZE, 3]
    together = run(images[:2])
    np.testing.assert_allclose(together, wanted[:2], atol=1e-4)
    np.testing.assert_allclose(
        np.concatenate([run(x[None]) for x in images[:2]]), together, atol=1e-5
    )
    np.testing.assert_allclose(load_predictor(path).run(images), wanted, atol=1e-4)


def test_openvino_gives_the_same_for_one_image_or_several(exported, images, wanted):
    sizes = {}
    for quantize, tolerance in (("none", 1e-4), ("float16", 0.02)):
        folder = exported("openvino", quantize).parent
        assert {file.name for file in folder.iterdir()} == {"model.xml", "model.bin"}
        sizes[quantize] = (folder / "model.bin").stat().st_size
        core = openvino.Core()
        graph = core.read_model(folder / "model.xml")
        assert (graph.input(0).any_name, graph.output(0).any_name) == ("image", "probabilities")
        assert graph.input(0).partial_shape.to_string() == f"[?,{SIZE[0]},{SIZE[1]},3]"
        assert [x.get_element_type() for x in (graph.input(0), graph.output(0))] == [
            openvino.Type.f32
        ] * 2
        compiled = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        together = compiled(images[:2])[0]
        np.testing.assert_allclose(together, wanted[:2], atol=tolerance)
        alone = np.concatenate([compiled(image[None])[0] for image in images[:2]])
        np.testing.assert_allclose(alone, together, atol=1e-5)
        found = load_predictor(folder / "model.xml").run(images)
        np.testing.assert_allclose(found, wanted, atol=tolerance)
    assert sizes["float16"] == pytest.approx(sizes["none"] / 2, rel=0.02)


@pytest.fixture(scope="module")
def signatures(exported):
    """The folder of the model's SavedModel and its signatures."""
    path = exported("saved_model")
    loaded = tf.saved_model.load(str(path))
    assert set(loaded.signatures) == {"serving_default", "any_size"}
    return path, loaded.signatures


def test_a_saved_model_takes_any_batch(signatures, images, wanted):
    serve = signatures[1]["serving_default"]
    (image,) = serve.structured_input_signature[1].values()
    assert (image.name, image.shape.as_list()) == ("image", [None, *SIZE, 3])
    found = serve(tf.constant(images))
    assert set(found) == {"probabilities"} and len(images) == 3
    np.testing.assert_allclose(found["probabilities"], wanted, atol=1e-4)
    alone = serve(image=tf.constant(images[:1]))["probabilities"]
    np.testing.assert_allclose(alone, wanted[:1], atol=1e-4)


def test_a_saved_model_holds_every_weight_once(lively_model, signatures):
    (file,) = signatures[0].glob("variables/variables.data*")
    weights = sum(4 * np.prod(weight.shape) for weight in lively_model.mask_model.weights)
    assert file.stat().st_size == pytest.approx(weights, rel=0.02)


# larger than the model, smaller, equal, and larger on one side only
@pytest.mark.parametrize("size", [(75, 101), (64, 96), (20, 31), SIZE, (20, 101), (75, 31)])
def test_tensorflow_resizes_as_opencv_does(size):
    images = pictures(2, size, seed=2)
    maps = np.random.default_rng(0).random((2, *SIZE, 3), "float32")
    for values, wanted, tolerance in ((images, SIZE, 1e-3), (maps, size, 1e-5)):
        found = resize(tf.constant(values), wanted)
        for ours, value in zip(found, values, strict=True):
            np.testing.assert_allclose(ours, resize_image(value, wanted), atol=tolerance)


# OpenCV resizes uint8 in integers, which makes a grey level of difference on an eighth of the
# pixels where it interpolates or halves, and none where it averages
@pytest.mark.parametrize(
    ("size", "most", "mean"),
    [
        *(((75, 101), 1e-4, 1e-5), ((96, 144), 1e-4, 1e-5), (SIZE, 1e-4, 1e-5)),
        *(((64, 96), 0.03, 0.003), ((20, 31), 0.03, 0.003)),
        *(((20, 101), 0.03, 0.003), ((75, 31), 0.03, 0.003)),
    ],
)
def test_a_saved_model_takes_images_of_any_size_as_predict_does(
    size, most, mean, lively_model, signatures
):
    images = pictures(2, size, seed=2).astype("uint8")
    found = np.asarray(signatures[1]["any_size"](image=tf.constant(images))["probabilities"])
    assert found.shape == (2, *size, 3)
    for image, maps in zip(images, found, strict=True):
        difference = np.abs(maps - tk.predict(lively_model, image))
        assert difference.max() < most and difference.mean() < mean


def test_a_model_of_z_scored_slices_is_not_given_images_of_any_size(
    smallest, lively_model, tmp_path
):
    z_scored = smallest((32, 32, 2), 2, normalization=prostate.normalization)
    assert keeps_z_scores(z_scored.normalization)
    assert not keeps_z_scores(lively_model.normalization)
    export_saved_model(z_scored, tmp_path / "saved_model")
    loaded = tf.saved_model.load(str(tmp_path / "saved_model"))
    assert set(loaded.signatures) == {"serving_default"}
    slices = np.random.default_rng(0).standard_normal((2, 32, 32, 2)).astype("float32")
    found = load_predictor(tmp_path / "saved_model").run(slices)
    np.testing.assert_allclose(found, as_predictor(z_scored).run(slices), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("onnx", "onnx", "onnx"), ("onnx", "tf2onnx", "onnx"), ("openvino", "openvino", "openvino")],
)
def test_a_missing_package_is_told_with_what_installs_it(
    name, module, extra, lively_model, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, module, None)
    export, file, _ = FORMATS[name]
    with pytest.raises(InputError) as error:
        export(lively_model, tmp_path / file)
    assert str(error.value) == (
        f"{module} is not installed: pip install 'transfuse-keras[{extra}]'."
    )
    assert not list(tmp_path.iterdir())
