"""The exported model on a server: what docs/serving.md says, without this package or Keras."""

import json
import re
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import SMALLEST_UNET
from data.files import save
from tensorflow.core.protobuf import saved_model_pb2

import transfuse_keras as tk
from transfuse_keras.data.readers import read_image
from transfuse_keras.data.resize import resize_image
from transfuse_keras.export.formats import export_openvino
from transfuse_keras.export.onnx_files import export_onnx
from transfuse_keras.export.saved_model import export_saved_model
from transfuse_keras.inference.masks import to_masks
from transfuse_keras.inference.predictor import as_predictor
from transfuse_keras.model.transfuse import TransFuse
from transfuse_keras.runs.metadata import ModelFacts, compose_description, write_metadata
from transfuse_keras.tasks import hip

pytestmark = pytest.mark.slow  # conversions and processes take seconds each

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
SIZE = (32, 48)
LEVEL = 5e-4  # of probabilities: resizing may round a few pixels of an image otherwise
ALONE = "import sys; sys.modules.update(keras=None, transfuse_keras=None)"  # imports fail


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def run_alone(code, folder):
    """Run code in `folder` by a Python that has neither this package nor Keras."""
    command = [sys.executable, "-I", "-c", f"{ALONE}\n{code}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def found_by(code, folder):
    """Run blocks of the page one after the other; the `probabilities` after each."""
    saves = [f"np.save('{number}.npy', probabilities)" for number in range(len(code))]
    run_alone("\n".join(part for pair in zip(code, saves, strict=True) for part in pair), folder)
    return [np.load(folder / f"{number}.npy") for number in range(len(code))]


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return TransFuse(SMALLEST_UNET, (*SIZE, 3), 3)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """A folder with a SavedModel, its .json and an image larger than the model."""
    folder = tmp_path_factory.mktemp("serving")
    coarse = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype="uint8")
    save(folder / "image.jpg", cv2.resize(coarse, (101, 75), interpolation=cv2.INTER_CUBIC))
    export_saved_model(model, folder / "saved_model")
    describe(folder, model)
    return folder


def describe(folder, model, exclusive=False):
    """Write saved_model.json with thresholds that half of the pixels reach; these thresholds."""
    maps = tk.predict(model, read_image(folder / "image.jpg"))
    thresholds = [float(x) for x in np.median(maps, axis=(0, 1))]
    origin = ModelFacts(
        replace(hip, exclusive=exclusive), dict(zip(hip.classes, thresholds, strict=True))
    )
    about = compose_description(model, origin, "saved_model", "none")
    write_metadata(folder / "saved_model", about, None)
    return thresholds


@pytest.mark.parametrize("exclusive", [False, True])
def test_the_page_makes_the_masks_of_the_package_with_tensorflow_alone(exclusive, folder, model):
    thresholds = describe(folder, model, exclusive)
    of_any_size, of_model_size = found_by(blocks("python")[:2], folder)
    image = read_image(folder / "image.jpg")
    wanted = tk.predict(model, image)
    assert np.ptp(wanted) > 0.1
    np.testing.assert_allclose(of_any_size, wanted[None], atol=LEVEL)
    small = as_predictor(model).run(resize_image(image, SIZE)[None])
    np.testing.assert_allclose(of_model_size, small, atol=LEVEL)
    files = [cv2.imread(str(folder / f"{name}.png"), cv2.IMREAD_UNCHANGED) for name in hip.classes]
    masks = np.stack(files, axis=-1)
    np.testing.assert_array_equal(masks, 255 * to_masks(of_any_size[0], thresholds, exclusive))
    assert (masks != 255 * to_masks(wanted, thresholds, exclusive)).mean() < 0.005
    assert (masks > 0).sum(axis=-1).max() == (1 if exclusive else 3)


@pytest.mark.slow
def test_the_page_gives_the_same_numbers_by_onnx_runtime_and_openvino(folder, model):
    export_onnx(model, folder / "model.onnx")
    export_openvino(model, folder / "model.xml")
    small = resize_image(read_image(folder / "image.jpg"), SIZE)
    wanted = as_predictor(model).run(small[None])
    assert np.ptp(wanted) > 0.1
    for found in found_by(blocks("python")[2:], folder):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_the_saved_model_takes_any_batch_and_size_where_there_is_only_tensorflow(
    folder, model, tmp_path
):
    rng = np.random.default_rng(0)
    one, three = (rng.uniform(0, 255, (n, *SIZE, 3)).astype("float32") for n in (1, 3))
    image = read_image(folder / "image.jpg")
    np.savez(tmp_path / "in.npz", one=one, three=three, image=image[None])
    code = f"""
import numpy as np
import tensorflow as tf

signatures = tf.saved_model.load({str(folder / "saved_model")!r}).signatures
used = {{"one": "serving_default", "three": "serving_default", "image": "any_size"}}
for name, pixels in np.load("in.npz").items():
    np.save(name, signatures[used[name]](image=tf.constant(pixels))["probabilities"])
"""
    run_alone(code, tmp_path)
    one_found, three_found, image_found = (
        np.load(tmp_path / f"{name}.npy") for name in ("one", "three", "image")
    )
    run = as_predictor(model).run
    np.testing.assert_allclose(one_found, run(one), atol=1e-5)
    np.testing.assert_allclose(three_found, run(three), atol=1e-5)
    np.testing.assert_allclose(image_found[0], tk.predict(model, image), atol=LEVEL)


def graph_of(folder):
    """The one graph of a SavedModel, as its file describes it."""
    content = (folder / "saved_model" / "saved_model.pb").read_bytes()
    (graph,) = saved_model_pb2.SavedModel.FromString(content).meta_graphs
    return graph


def described(tensors):
    return {
        name: (tf.as_dtype(tensor.dtype), tuple(axis.size for axis in tensor.tensor_shape.dim))
        for name, tensor in tensors.items()
    }


@pytest.mark.parametrize(
    ("name", "dtype", "size"),
    [("serving_default", tf.float32, SIZE), ("any_size", tf.uint8, (-1, -1))],
)
def test_a_signature_is_what_tensorflow_serving_asks_for(name, dtype, size, folder):
    graph = graph_of(folder)
    assert list(graph.meta_info_def.tags) == ["serve"]
    signature = graph.signature_def[name]
    assert signature.method_name == "tensorflow/serving/predict"
    assert described(signature.inputs) == {"image": (dtype, (-1, *size, 3))}
    assert described(signature.outputs) == {"probabilities": (tf.float32, (-1, *size, 3))}


@pytest.fixture
def server(folder):
    """Stands for TensorFlow Serving's REST port, by its api_rest.md; yields host and port."""
    loaded, graph = tf.saved_model.load(str(folder / "saved_model")), graph_of(folder)

    class Serving(BaseHTTPRequestHandler):
        def do_POST(self):
            assert self.path == "/v1/models/hip:predict"
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = request.get("signature_name", "serving_default")
            # of a single input the instances are the values; their type is the signature's
            ((given, tensor),) = graph.signature_def[name].inputs.items()
            values, dtype = np.array(request["instances"]), tf.as_dtype(tensor.dtype)
            assert dtype.is_floating or values.dtype.kind == "i"  # others it refuses
            (maps,) = loaded.signatures[name](**{given: tf.cast(values, dtype)}).values()
            self.send_response(200)
            self.end_headers()
            # of a single output the predictions are the values
            self.wfile.write(json.dumps({"predictions": maps.numpy().tolist()}).encode())

        def log_message(self, *args):
            pass

    with HTTPServer(("localhost", 0), Serving) as http:
        threading.Thread(target=http.serve_forever).start()
        yield f"localhost:{http.server_port}"
        http.shutdown()


def test_the_rest_client_of_the_page_gets_the_probabilities_of_the_package(
    server, folder, model, monkeypatch
):
    monkeypatch.chdir(folder)
    code, page = blocks("py")[0], {}
    assert code.count("localhost:8501") == 1
    exec(code.replace("localhost:8501", server), page)
    image = page["image"]
    np.testing.assert_allclose(page["of_any_size"][0], tk.predict(model, image), atol=LEVEL)
    wanted = as_predictor(model).run(resize_image(image, SIZE)[None])
    np.testing.assert_allclose(page["of_model_size"], wanted, atol=1e-5)
