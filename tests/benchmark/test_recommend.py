"""The file that a benchmark recommends for a machine, and the sentence that says so."""

from types import SimpleNamespace

import pytest

from transfuse_keras.benchmark.recommend import describe_recommendation, recommend
from transfuse_keras.runs.metadata import ModelFacts, compose_description, write_metadata
from transfuse_keras.tasks import hip

MODEL = SimpleNamespace(variant="Ti", input_shape=(None, 32, 48, 3), normalization=((0,), (1,)))
FILES = {"model.tflite": "none", "model-int8.tflite": "int8", "model.onnx": "none"}


@pytest.fixture
def run(tmp_path):
    """A run folder with verified files; nothing in them is a model."""
    (tmp_path / "model.keras").write_bytes(b"model")
    origin = ModelFacts(hip, dict.fromkeys(hip.classes, 0.5), file=tmp_path / "model.keras")
    for name, quantize in FILES.items():
        (tmp_path / name).write_text(name)
        about = compose_description(MODEL, origin, "litert", quantize)
        write_metadata(tmp_path / name, about, {"dice_lost": 0.001}, origin.file)
    return tmp_path


def rows(**latencies):
    """Rows of a benchmark, sorted."""
    names = {
        "keras": ("model.keras", "Keras"),
        "litert": ("model.tflite", "LiteRT"),
        "int8": ("model-int8.tflite", "LiteRT"),
        "onnx": ("model.onnx", "ONNX Runtime"),
        "tensorflow": ("saved_model", "TensorFlow"),
        "bf16": ("model.xml", "OpenVINO bf16"),
    }
    ordered = sorted(latencies.items(), key=lambda item: item[1])
    return [
        {**dict(zip(("file", "runtime"), names[key], strict=True)), "latency_ms": ms}
        for key, ms in ordered
    ]


@pytest.mark.parametrize(
    ("latencies", "wanted"),
    [
        ({"keras": 95, "litert": 80, "int8": 27, "onnx": 84}, "model-int8.tflite"),
        ({"keras": 95, "litert": 80, "int8": 76}, "model.tflite"),  # not worth it
        ({"keras": 95, "litert": 80, "onnx": 70}, "model.onnx"),
        ({"keras": 20, "litert": 80}, "model.keras"),  # as on a GPU
        ({"keras": 95, "litert": 80, "tensorflow": 60, "bf16": 40}, "model.tflite"),
    ],
)
def test_the_fastest_verified_file_is_recommended(run, latencies, wanted):
    found = recommend(run, rows(**latencies))
    assert found["file"] == wanted and found["latency_ms"] in latencies.values()


def test_a_file_that_was_changed_is_not(run):
    (run / "model-int8.tflite").write_text("another")
    assert recommend(run, rows(keras=95, litert=80, int8=27))["file"] == "model.tflite"


def test_files_without_a_model_are_not_compared(tmp_path):
    assert recommend(tmp_path, rows(litert=80)) is None


def test_the_sentence_names_file_time_and_instruction_sets():
    machine = {"instructions": ["AVX2", "VNNI"]}
    said = " ".join(describe_recommendation({"file": "a.tflite", "latency_ms": 26.4}, machine))
    assert all(part in said for part in ("a.tflite", "26 ms", "AVX2, VNNI", "0.005"))
