"""LiteRT files of every variant structure: what is in them, and how close they come."""

import logging
import shutil
from dataclasses import dataclass, replace
from functools import cached_property

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from lively import lively, pictures

from transfuse_keras.export.litert import export_litert
from transfuse_keras.export.quantize import find_widest_ranges, quantize_dynamic, quantize_int8
from transfuse_keras.inference.predictor import as_predictor
from transfuse_keras.model.variants import VARIANTS

STRUCTURES = ("Ti", "L", "L*", "L-R50")  # S is that of Ti with more of the same blocks
SIZE, CLASSES = (64, 96), 2
QUANTIZATIONS = ("none", "float16", "dynamic", "int8")
FLOAT32 = {"SOFTMAX", "BATCH_MATMUL", "SQUARED_DIFFERENCE", "RSQRT", "MEAN", "GELU", "LOGISTIC"}


class Exported:
    """A small model of a variant's structure, and its .tflite files as they are asked for."""

    def __init__(self, variant, folder):
        self.variant = variant
        self.model = lively(replace(VARIANTS[variant], depth=1, widths=(16, 8, 8)), (*SIZE, 3))
        self.folder = folder
        self.images = pictures(6, SIZE)
        self.wanted = as_predictor(self.model).run(self.images)
        self.known = {}

    def __getitem__(self, quantize):
        """The Graph of a quantization."""
        if quantize not in self.known:
            path = self.folder / f"{quantize}.tflite"
            if quantize in ("none", "float16"):
                export_litert(self.model, path, quantize)
            else:  # what `export_litert` does, without another conversion
                shutil.copy(self["none"].path, path)
                further = [pictures(6, SIZE, seed=1)] if quantize == "int8" else []
                (quantize_int8 if further else quantize_dynamic)(path, *further)
            self.known[quantize] = Graph(path)
        return self.known[quantize]


@dataclass(frozen=True)
class Operation:
    """A node of a graph: its name and the details of the tensors that it takes and gives."""

    name: str
    inputs: list
    outputs: list


class Graph:
    """A .tflite file with the operations and tensors in it."""

    def __init__(self, path):
        self.path = path
        self.interpreter = Interpreter(str(path))
        self.interpreter.allocate_tensors()
        (self.image,) = self.interpreter.get_input_details()
        (self.maps,) = self.interpreter.get_output_details()

    @cached_property
    def operations(self):
        tensors = {x["index"]: x for x in self.interpreter.get_tensor_details()}

        def details(indices):
            return [tensors[i] for i in indices if i in tensors]  # -1: no bias

        return [
            Operation(node["op_name"], details(node["inputs"]), details(node["outputs"]))
            for node in self.interpreter._get_ops_details()
        ]

    def of(self, *names):
        return [operation for operation in self.operations if operation.name in names]

    def run(self, images):
        found = []
        for image in images:
            self.interpreter.set_tensor(self.image["index"], image[None])
            self.interpreter.invoke()
            found.append(self.interpreter.get_tensor(self.maps["index"])[0])
        return np.stack(found)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(x, marks=pytest.mark.slow if x == "Ti" else pytest.mark.release)
        for x in STRUCTURES
    ],
)
def exported(request, tmp_path_factory):
    return Exported(request.param, tmp_path_factory.mktemp("exported"))


def constant(tensor, operations):
    """Whether no operation gives this tensor: a weight."""
    return not any(tensor["index"] == x["index"] for node in operations for x in node.outputs)


@pytest.mark.parametrize("quantize", QUANTIZATIONS)
def test_all_is_builtin_and_in_one_piece(exported, quantize):
    """A single partition that takes the image and gives the maps leaves nothing outside: what
    were left between would have to take from it and give to it."""
    graph = exported[quantize]
    names = {operation.name for operation in graph.operations}
    assert not [x for x in names if x.startswith("Flex") or x == "CUSTOM"]
    assert not names & {"SHAPE", "GATHER", "PACK"}
    (delegate,) = graph.of("DELEGATE")
    computed = [x for x in graph.operations if x.name != "DELEGATE"]
    taken = [x["index"] for x in delegate.inputs if not constant(x, computed)]
    assert not taken and graph.image["index"] in [x["index"] for x in delegate.inputs]
    assert [x["index"] for x in delegate.outputs] == [graph.maps["index"]]


@pytest.mark.parametrize("quantize", QUANTIZATIONS)
def test_one_float32_image_in_and_its_probabilities_out(exported, quantize):
    graph = exported[quantize]
    for tensor, channels in ((graph.image, 3), (graph.maps, CLASSES)):
        assert tensor["shape"].tolist() == [1, *SIZE, channels]
        assert tensor["shape_signature"].tolist() == [1, *SIZE, channels]
        assert (
            tensor["dtype"] == np.float32 and not tensor["quantization_parameters"]["scales"].size
        )
    ((inputs, outputs),) = (
        (x["inputs"], x["outputs"]) for x in graph.interpreter.get_signature_list().values()
    )
    assert inputs == ["image"] and outputs == ["probabilities"]
    (by_name,) = graph.interpreter.get_signature_runner().get_output_details().values()
    assert by_name["index"] == graph.maps["index"]


# largest and mean difference of probabilities, twice what was measured on the worst variant:
# random networks forgive no rounding. Unrelated maps would differ by 0.13 on average.
@pytest.mark.parametrize(
    ("quantize", "most", "mean"),
    [("none", 1e-4, 1e-5), ("float16", 0.1, 0.007), ("dynamic", 0.6, 0.06), ("int8", 0.7, 0.08)],
)
def test_probabilities_are_those_of_the_keras_model(exported, quantize, most, mean):
    assert np.ptp(exported.wanted) > 0.5
    difference = np.abs(exported[quantize].run(exported.images) - exported.wanted)
    assert difference.max() < most and difference.mean() < mean


@pytest.mark.parametrize("quantize", ["dynamic", "int8"])
def test_convolutions_have_int8_weights_with_a_scale_for_each_channel(exported, quantize):
    convolutions = exported[quantize].of("CONV_2D")
    assert len(convolutions) == len(exported["none"].of("CONV_2D")) > 50
    for convolution in convolutions:
        image, kernel = convolution.inputs[:2]
        assert kernel["dtype"] == np.int8
        parameters = kernel["quantization_parameters"]
        assert parameters["scales"].shape == (kernel["shape"][0],)
        assert parameters["quantized_dimension"] == 0 and not parameters["zero_points"].any()
        activation = np.int8 if quantize == "int8" else np.float32
        assert image["dtype"] == convolution.outputs[0]["dtype"] == activation
        assert image["quantization_parameters"]["scales"].size == (quantize == "int8")


@pytest.mark.parametrize("quantize", ["dynamic", "int8"])
def test_dense_layers_are_dynamic_and_attention_stays_float32(exported, quantize):
    graph = exported[quantize]
    dense = graph.of("FULLY_CONNECTED")
    assert len(dense) >= 4  # query, key and value at once, projection and two of the MLP
    for operation in dense:
        assert operation.inputs[1]["dtype"] == np.int8
        assert operation.inputs[0]["dtype"] == operation.outputs[0]["dtype"] == np.float32
    floating = graph.of(*FLOAT32)
    assert {x.name for x in floating} == FLOAT32
    for operation in floating:
        tensors = [x for x in operation.inputs + operation.outputs if x["dtype"] != np.int32]
        assert {x["dtype"] for x in tensors} == {np.float32}, operation.name


def test_a_resnet_is_int8_from_its_first_convolution_to_its_three_outputs(exported):
    if exported.variant in ("L", "L*"):
        pytest.skip("Res2Net splits and adds, and BiT normalises, in float32")
    operations = exported["int8"].operations
    parts = [x for x in operations if "/cnn_" in x.outputs[0]["name"] and x.name != "DELEGATE"]
    assert {"CONV_2D", "ADD", "MAX_POOL_2D", "PAD"} <= {x.name for x in parts}
    floating = [x for x in parts if x.outputs[0]["dtype"] != np.int8]
    assert [x.name for x in floating] == ["DEQUANTIZE"] * 3
    sums = [x for x in exported.model.cnn._flatten_layers() if isinstance(x, keras.layers.Add)]
    assert len([x for x in parts if x.name == "ADD"]) == len(sums)


def test_weights_take_a_half_or_a_quarter_of_the_bytes(exported):
    sizes = {quantize: exported[quantize].path.stat().st_size for quantize in QUANTIZATIONS}
    parameters = sizes["none"] / 4  # nearly all of the file
    assert sizes["float16"] == pytest.approx(2 * parameters, rel=0.03)
    assert sizes["dynamic"] == pytest.approx(parameters, rel=0.06)
    assert sizes["int8"] == pytest.approx(parameters, rel=0.1)


def test_ranges_hold_every_activation_of_every_image():
    class Quantizer:
        """Finds a range for two tensors that depends on the image."""

        def calibrate(self, data):
            ((sample,),) = data.values()
            image = sample["image"]
            assert image.shape == (1, 2, 2, 1) and image.dtype == np.float32
            low, high = image.min(), image.max()
            part = {"min": np.array([[low, -high]]), "max": np.array([[high, -low]])}
            return {"a": part, "b": {"min": 2 * low, "max": 2 * high, "num_samples": 1}}

    images = np.arange(12).reshape(3, 2, 2, 1)[[1, 2, 0]]
    found = find_widest_ranges(Quantizer(), images)
    np.testing.assert_array_equal(found["a"]["min"], [[0, -11]])
    np.testing.assert_array_equal(found["a"]["max"], [[11, 0]])
    assert (found["b"]["min"], found["b"]["max"], found["b"]["num_samples"]) == (0, 22, 1)


def test_the_quantizer_says_nothing_and_leaves_logging_as_it_was(exported, tmp_path, capfd):
    path = shutil.copy(exported["none"].path, tmp_path / "model.tflite")
    capfd.readouterr()
    quantize_int8(path, exported.images[:1])
    out, err = capfd.readouterr()
    assert not out and "%" not in err
    assert logging.getLogger().isEnabledFor(logging.WARNING)
