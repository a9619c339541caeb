"""A model repository of Triton: its configuration and the ONNX file in it say the same."""

import numpy as np
import onnxruntime
import pytest
from conftest import CLIENTS
from lively import pictures

from transfuse_keras.export.onnx_files import export_triton
from transfuse_keras.inference.predictor import as_predictor, load_predictor
from transfuse_keras.runs.embedded import read_embedded, write_embedded

pytestmark = pytest.mark.slow  # converts a model


@pytest.fixture(scope="module")
def repository(lively_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "triton"
    export_triton(lively_model, path)
    return path


def test_the_repository_has_the_files_that_triton_looks_for(repository):
    files = {str(x.relative_to(repository)) for x in repository.rglob("*") if x.is_file()}
    assert files == {"transfuse/config.pbtxt", "transfuse/1/model.onnx"}


def test_the_model_in_it_gives_what_the_keras_model_gives(repository, lively_model):
    images = pictures(3, (32, 48))
    wanted = as_predictor(lively_model).run(images)
    np.testing.assert_allclose(load_predictor(repository).run(images), wanted, atol=1e-4)
    session = onnxruntime.InferenceSession(repository / "transfuse" / "1" / "model.onnx")
    (batch,) = session.run(["probabilities"], {"image": images.astype("float32")})
    np.testing.assert_allclose(batch, wanted, atol=1e-4)


def test_it_carries_its_description(repository):
    write_embedded(repository, {"task": "hip"})
    assert read_embedded(repository) == {"task": "hip"}


def test_triton_reads_the_configuration_and_it_is_that_of_the_model(repository, monkeypatch):
    monkeypatch.syspath_prepend(CLIENTS)
    # the client holds Protocol Buffers below 7, but its messages run with 7
    messages = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    from google.protobuf import text_format

    text = (repository / "transfuse" / "config.pbtxt").read_text()
    config = text_format.Parse(text, messages.ModelConfig())
    session = onnxruntime.InferenceSession(repository / "transfuse" / "1" / "model.onnx")
    assert config.backend == "onnxruntime" and config.max_batch_size == 8
    for told, real in (
        (config.input, session.get_inputs()),
        (config.output, session.get_outputs()),
    ):
        ((told,), (real,)) = told, real
        assert (told.name, list(told.dims)) == (real.name, real.shape[1:])
        assert (told.data_type, real.type) == (messages.TYPE_FP32, "tensor(float)")
