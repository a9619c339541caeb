"""What a stranger may hand us: damaged and hostile files, and argument lists."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.reliability import fuzz_kinds
from benchmarks.reliability.fuzz import fuzz, judge, markdown

pytestmark = pytest.mark.filterwarnings("ignore")  # of Pillow and pydicom, on damaged files
QUICK = ("png", "jpeg", "tiff", "bmp", "nifti", "nifti.gz", "dicom", "npz", "safetensors", "h5")
QUICK += ("pth", "run", "report", "folder", "decathlon", "coco", "labelme", "cvat", "arguments")


@pytest.mark.parametrize("kind", QUICK)
def test_hostile_and_damaged_files_are_read_or_refused_in_one_sentence(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepared = fuzz_kinds.prepare(kind)
    outcomes = {}
    for case in range(len(getattr(prepared, "hostile", ())) + 20):
        prepared.write(np.random.default_rng([0, case]), case, tmp_path)
        outcome, text = judge(prepared.run)
        assert outcome != "failure", f"--kind {kind} --case {case}: {text}"
        outcomes[outcome] = text
    assert "refused" in outcomes and not (tmp_path / "executed").exists()


@pytest.mark.parametrize("kind", [kind for kind in QUICK if kind != "arguments"])
def test_undamaged_seeds_are_accepted(kind, tmp_path):
    """Else the refusals above would say nothing."""
    kind = replace(
        fuzz_kinds.KINDS[kind], hostile=list, damage=lambda rng, content, others: content
    )
    prepared, found = fuzz_kinds.Prepared(kind), set()
    for case in range(20):
        prepared.write(np.random.default_rng([0, case]), case, tmp_path)
        found.add(judge(prepared.run))
    assert found == {("accepted", "")}


def explode(path):
    raise KeyError("no sentence")


def test_a_traceback_a_warning_and_a_nameless_sentence_are_failures(tmp_path):
    def says(text):
        raise OSError(text)

    assert judge(lambda: explode(tmp_path)) == ("failure", "KeyError: 'no sentence'")
    assert judge(lambda: says("one\ntwo"))[0] == "failure"
    assert judge(lambda: says("a.png: no image.")) == ("refused", "a.png: no image.")
    assert judge(lambda: None) == ("accepted", "")
    prepared = fuzz_kinds.Prepared(fuzz_kinds.Kind("a", lambda: [b"x"], (lambda path: says("no"),)))
    prepared.write(np.random.default_rng(0), 0, tmp_path)
    assert judge(prepared.run) == ("failure", "AssertionError: names no file: no")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["png", "keras", "tflite", "onnx"])
def test_damaged_files_in_a_process_with_limits(kind):
    """Models are read in a process of their own; `make fuzz` tries many of all kinds."""
    tally = fuzz(kind, range(10), 1)
    assert sum(tally.outcomes.values()) == 10
    assert not tally.failures, "\n".join(markdown({kind: tally}))
