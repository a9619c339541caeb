"""Which file of a run folder predicts: the fastest that is still the same model."""

import json
from types import SimpleNamespace

import pytest

from transfuse_keras.cli import main
from transfuse_keras.errors import InputError
from transfuse_keras.files import write_json
from transfuse_keras.inference import choose as module
from transfuse_keras.inference.choose import choose_file
from transfuse_keras.runs.metadata import ModelFacts, compose_description, write_metadata
from transfuse_keras.runs.processor import describe_processor
from transfuse_keras.tasks import hip

MODEL = SimpleNamespace(variant="Ti", input_shape=(None, 32, 48, 3), normalization=((0,), (1,)))
FILES = {"model.tflite": "litert", "model-int8.tflite": "litert", "model.xml": "openvino"}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run folder with three verified files; nothing in them is a model."""
    monkeypatch.setattr(module, "GPU", tmp_path / "absent")
    source = tmp_path / "model.keras"
    source.write_bytes(b"model")
    (tmp_path / "model.bin").write_bytes(b"weights")
    origin = ModelFacts(hip, dict.fromkeys(hip.classes, 0.5), file=source)
    for name, kind in FILES.items():
        (tmp_path / name).write_text(name)
        about = compose_description(MODEL, origin, kind, "none")
        write_metadata(tmp_path / name, about, {"dice_lost": 0.001}, origin.file)
    return tmp_path


def recommend(run, name, **machine):
    here = describe_processor() | machine
    write_json(run / "benchmark.json", {"machine": here, "recommended": {"file": name}})


def test_the_float32_file_that_starts_soonest(run, capsys):
    assert choose_file(run) == run / "model.tflite"
    said = capsys.readouterr().out
    assert "model.tflite" in said and "--runtime keras" in said and said.count("\n") == 1


@pytest.mark.parametrize("path", ["model.keras", "model-int8.tflite"])
def test_what_is_named_is_taken(run, path):
    assert choose_file(run / path) == run / path


def test_what_a_benchmark_on_this_processor_recommends(run):
    recommend(run, "model-int8.tflite")
    assert choose_file(run) == run / "model-int8.tflite"
    recommend(run, "model-int8.tflite", instructions=["another"])
    assert choose_file(run) == run / "model.tflite"
    recommend(run, "model.keras")
    assert choose_file(run) == run
    recommend(run, "gone.tflite")
    assert choose_file(run) == run / "model.tflite"
    (run / "benchmark.json").write_text('{"recommended": 3, "machine": []}')
    with pytest.raises(InputError, match="benchmark.json: damaged"):
        choose_file(run)


def rewrite(path, **changes):
    write_json(path, json.loads(path.read_text()) | changes)


@pytest.mark.parametrize(
    "change",
    [
        lambda run: (run / "model.tflite").write_text("another"),
        lambda run: (run / "model.tflite").unlink(),
        lambda run: (run / "model.tflite.json").unlink(),
        lambda run: rewrite(run / "model.tflite.json", verified=None),
        lambda run: rewrite(run / "model.tflite.json", sha256={}),  # of a former version
    ],
)
def test_a_file_that_is_not_known_to_be_the_model_is_not_taken(run, change):
    change(run)
    assert choose_file(run) == run / "model.xml"
    (run / "model.bin").write_bytes(b"others")
    assert choose_file(run) == run


def test_after_another_training_the_model_itself_is_taken(run, capsys):
    (run / "model.keras").write_bytes(b"trained for longer")
    assert choose_file(run) == run
    assert "model.keras" in capsys.readouterr().out


def test_what_is_not_installed_is_not_taken(run, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "ai_edge_litert" else 1)
    assert choose_file(run) == run / "model.xml"


def test_on_a_gpu_the_model_itself_computes_unless_a_benchmark_says_otherwise(run, monkeypatch):
    monkeypatch.setattr(module, "GPU", run)
    assert choose_file(run) == run
    recommend(run, "model.tflite")
    assert choose_file(run) == run / "model.tflite"


def test_a_runtime_is_for_what_holds_the_model(run, tmp_path, capsys):
    given = ["predict", "--model", str(run / "model.tflite"), "--input", "a.png", "--out", "out"]
    assert main([*given, "--runtime", "keras"]) == 2
    assert "model.tflite: --runtime" in capsys.readouterr().err
