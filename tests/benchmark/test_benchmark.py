import json
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from transfuse_keras.benchmark import measure as module
from transfuse_keras.benchmark import processes
from transfuse_keras.benchmark.measure import benchmark, common_size, measure_runtimes
from transfuse_keras.benchmark.table import format_benchmark
from transfuse_keras.errors import InputError
from transfuse_keras.inference import runtimes
from transfuse_keras.inference.predictor import as_predictor
from transfuse_keras.model.flops import count_flops

SIZE = (32, 48)


@pytest.fixture
def lone(litert_file, tmp_path):
    """A .tflite file in a folder of its own."""
    return Path(shutil.copy(litert_file, tmp_path))


@pytest.fixture(scope="module")
def run(lively_model, exported, tmp_path_factory):
    """A run folder with three formats of the model."""
    folder = tmp_path_factory.mktemp("run")
    lively_model.save(folder / "model.keras")
    shutil.copytree(exported("saved_model"), folder / "saved_model")
    shutil.copy(exported("litert"), folder)
    return folder


@pytest.fixture
def bare(monkeypatch):
    """Neither ONNX Runtime nor OpenVINO are installed."""
    monkeypatch.setattr(module, "find_spec", lambda name: None)


@pytest.fixture
def known_peak(monkeypatch):
    """The matrix product is not measured again: that takes one more process with TensorFlow."""
    start = module.process

    @contextmanager
    def process(name, *settings):
        if name == "a matrix product":
            yield {}, lambda: {"seconds": 0.1}
        else:
            with start(name, *settings) as started:
                yield started

    monkeypatch.setattr(module, "process", process)


def assert_written(result, folder):
    """The file and the printed table tell what was measured; returns {file: its row as text}."""
    assert json.loads((folder / "benchmark.json").read_text()) == result
    lines = format_benchmark(result)
    start = next(i for i, line in enumerate(lines) if line.split()[:1] == ["file"]) + 2
    rows = lines[start : start + len(result["rows"])]
    table = [line.replace(" %", "%").split() for line in rows]
    assert [float(cells[-7]) for cells in table] == [
        pytest.approx(row["latency_ms"], abs=0.051) for row in result["rows"]
    ]
    return {cells[0]: cells for cells in table}


def test_processes_take_turns_and_medians_are_theirs(monkeypatch, tmp_path):
    file, folder = tmp_path / "model.tflite", tmp_path / "saved_model"
    folder.mkdir()
    file.write_bytes(bytes(3000))
    (folder / "saved_model.pb").write_bytes(bytes(5000))
    times = {
        "a matrix product": [0.5, 0.25, 1.0],
        file: [0.010, 0.030, 0.020],
        folder: [0.004, 0.002, 0.003],
    }
    asked = []

    @contextmanager
    def process(name, runtime, settings):
        def answer():
            asked.append(name)
            return {"seconds": times[name][asked.count(name) - 1], "memory": 4_000_000}

        yield {"shape": [32, 48, 3], "load_seconds": 0.5}, answer

    monkeypatch.setattr(module, "process", process)
    monkeypatch.setattr(processes, "PAUSE", 0)
    jobs = [(file, "LiteRT", {}), (folder, "TensorFlow", {})]
    size, peak, (first, second) = measure_runtimes(jobs, 2, rounds=3)
    assert asked == [file, folder, "a matrix product"] * 3
    assert size == [32, 48]
    assert peak == pytest.approx(2 * 2048**3 / 0.25 / 1e9)
    assert first["latency_ms"] == pytest.approx(20) and second["latency_ms"] == pytest.approx(3)
    assert first["p95_ms"] == pytest.approx(29)  # 0.9 of the way from 20 to 30
    assert first["images_per_second"] == pytest.approx(50)
    assert (first["file_mb"], second["file_mb"]) == (0.003, 0.005)
    assert first["memory_mb"] == 4 and first["load_seconds"] == 0.5


@pytest.mark.slow
def test_a_single_file(lone):
    result = benchmark(lone, threads=1, rounds=2)
    (row,) = result["rows"]
    cells = assert_written(result, lone.parent)["model.tflite"]
    assert row["runtime"] == cells[1] == "LiteRT" and result["image_size"] == [*SIZE]
    assert row["file_mb"] == lone.stat().st_size / 1e6
    assert row["images_per_second"] == pytest.approx(1000 / row["latency_ms"])
    # a process with TensorFlow, such as this one, holds several hundred
    assert row["file_mb"] < row["memory_mb"] < 300
    assert result["gflop"] is None and row["peak_share"] is None and "-" in cells
    assert result["machine"]["threads"] == 1 and result["machine"]["peak_gflops"] > 1
    assert {"ai-edge-litert", "tensorflow", "python"} < set(result["versions"])


@pytest.mark.slow
def test_all_that_a_run_holds_is_measured(lively_model, run, bare, known_peak, capsys):
    for name in ("model.onnx", "model-int8.xml"):
        (run / name).write_bytes(b"not looked into")
    result = benchmark(run, rounds=3)
    said = capsys.readouterr().err
    assert "model.onnx " in said and "onnxruntime" in said
    assert "pip install 'transfuse-keras[onnx]'" in said
    assert "model-int8.xml " in said and "pip install 'transfuse-keras[openvino]'" in said
    rows = {row["file"]: row for row in result["rows"]}
    assert set(assert_written(result, run)) == set(rows)
    sizes = {
        "model.keras": (run / "model.keras").stat().st_size,
        "model.tflite": (run / "model.tflite").stat().st_size,
        "saved_model": sum(p.stat().st_size for p in run.glob("saved_model/**/*") if p.is_file()),
    }
    assert {name: row["file_mb"] for name, row in rows.items()} == {
        name: size / 1e6 for name, size in sizes.items()
    }
    latencies = [row["latency_ms"] for row in result["rows"]]
    assert latencies == sorted(latencies)
    assert result["gflop"] == count_flops(lively_model.mask_model) / 1e9
    for row in rows.values():
        achieved = result["gflop"] / row["latency_ms"] * 1000
        assert row["peak_share"] == pytest.approx(achieved / result["machine"]["peak_gflops"])


@pytest.mark.release
def test_at_another_size_exports_are_measured(lively_model, run, bare, known_peak, capsys):
    result = benchmark(run, image_size=(64, 64), rounds=2)
    assert "At 64x64: model.keras, resized" in capsys.readouterr().out
    assert result["image_size"] == [64, 64]
    assert set(assert_written(result, run)) == {"model.keras", "saved_model", "model.tflite"}
    assert result["gflop"] == count_flops(lively_model.resized((64, 64)).mask_model) / 1e9


@pytest.mark.slow
def test_openvino_runs_in_all_precisions_of_the_cpu(run, known_peak, tmp_path):
    openvino = pytest.importorskip("openvino")
    lively_model = openvino.convert_model(str(run / "saved_model"), input=[1, *SIZE, 3])
    openvino.save_model(lively_model, str(tmp_path / "model.xml"), compress_to_fp16=False)
    result = benchmark(tmp_path / "model.xml", rounds=2)
    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    wanted = {"OpenVINO f32"} | ({"OpenVINO bf16"} if "BF16" in capabilities else set())
    assert {row["runtime"] for row in result["rows"]} == wanted
    both = sum((tmp_path / f"model.{suffix}").stat().st_size for suffix in ("xml", "bin"))
    assert {row["file_mb"] for row in result["rows"]} == {both / 1e6}


def test_what_litert_runs_is_the_model(lively_model, litert_file):
    shape, run = runtimes.litert(str(litert_file), 2)
    images = np.random.default_rng(0).uniform(0, 255, (1, *SIZE, 3)).astype("float32")
    assert list(shape) == [*SIZE, 3]
    np.testing.assert_allclose(run(images), as_predictor(lively_model).run(images), atol=1e-5)


def test_what_onnx_runtime_runs_is_the_model(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    tensors = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", *SIZE, 3])
        for name in "xy"
    ]
    node = onnx.helper.make_node("Sigmoid", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "sigmoid", tensors[:1], tensors[1:])
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset), tmp_path / "model.onnx")
    shape, run = runtimes.onnx(str(tmp_path / "model.onnx"), 1)
    images = np.random.default_rng(0).normal(size=(1, *SIZE, 3)).astype("float32")
    assert shape == [*SIZE, 3]
    np.testing.assert_allclose(run(images), 1 / (1 + np.exp(-images)), atol=1e-6)


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ({"image_size": (64, 64)}, "model.tflite: .*size"),
        ({"threads": 0}, "--threads 0: give 1 or more"),
        ({"rounds": 0}, "--rounds 0: give 1 or more"),
    ],
)
def test_settings_that_do_not_fit(lone, arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        benchmark(lone, **arguments)


def test_only_multiples_of_16_are_sizes(lively_model, tmp_path):
    lively_model.save(tmp_path / "model.keras")
    with pytest.raises(InputError, match="--image-size 60x64: .* multiples of 16"):
        benchmark(tmp_path, image_size=(60, 64))


@pytest.mark.parametrize("name", ["", "absent", "notes.txt"])
def test_nothing_to_measure(name, tmp_path):
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises(InputError, match="no model"):
        benchmark(tmp_path / name)


def test_no_package_for_any_file(bare, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"not looked into")
    with pytest.raises(InputError, match=r"pip install 'transfuse-keras\[onnx\]'"):
        benchmark(tmp_path)


def test_a_damaged_file_leaves_no_result(lone):
    lone.write_bytes(lone.read_bytes()[:1000])
    with pytest.raises(InputError, match="model.tflite: damaged"):
        benchmark(lone, rounds=1)
    assert not (lone.parent / "benchmark.json").exists()


def test_files_of_different_sizes_are_not_compared():
    files = [Path(f"{name}.tflite") for name in "abc"]
    assert common_size(files, [[32, 48]] * 3) == [32, 48]
    with pytest.raises(InputError, match="c.tflite: .*64x64.* a.tflite .*32x48"):
        common_size(files, [[32, 48], [32, 48], [64, 64]])


def test_a_process_that_is_ended_is_named(monkeypatch, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import sys; print('{}', flush=True); input(); sys.exit(9)")
    monkeypatch.setattr(processes, "RUNTIMES_FILE", script)
    with (
        pytest.raises(InputError, match="a.onnx: .*code 9"),
        processes.process(Path("a.onnx"), "X", {}) as (_, answer),
    ):
        answer()


def test_the_runtimes_import_nothing_of_the_package(lone, tmp_path):
    """It would bring TensorFlow into all of their processes; so a model is run to the end."""
    job = json.dumps({"kind": "litert", "path": str(lone), "threads": 1})
    code = f"""
import runpy, sys
sys.argv = ["runtimes.py", {job!r}]
runpy.run_path({str(processes.RUNTIMES_FILE)!r}, run_name="__main__")
print("modules", *sys.modules, file=sys.stderr)
"""
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, input="\n", capture_output=True, text=True, cwd=tmp_path)
    loaded, answer = map(json.loads, done.stdout.splitlines())
    assert loaded["shape"] == [*SIZE, 3] and answer["seconds"] > 0
    modules = {name.partition(".")[0] for name in done.stderr.rpartition("modules ")[2].split()}
    assert "ai_edge_litert" in modules and not modules & {"transfuse_keras", "tensorflow", "keras"}
