"""What is known to fail on Windows or macOS does not happen; only Linux runs these tests."""

import ast
import io
import os
import sys
from pathlib import Path, PureWindowsPath

import pytest
from test_floors import PACKAGE

from transfuse_keras import cli, files
from transfuse_keras.data.pictures import save_png
from transfuse_keras.errors import InputError
from transfuse_keras.inference import outputs
from transfuse_keras.inference.inputs import Input
from transfuse_keras.tasks import Task, hip

ROOT = PACKAGE.parent
SOURCES = [
    x for folder in (PACKAGE, ROOT / "edge", ROOT / "examples") for x in folder.rglob("*.py")
]
UNIX_ONLY = {"ctypes", "fcntl", "grp", "pty", "pwd", "resource", "termios"}


def calls(path):
    """(name of what is called, mode given as text or "", names of the keywords) of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            texts = [x.value for x in node.args if isinstance(x, ast.Constant)]
            mode = next((x for x in texts if isinstance(x, str) and set(x) <= set("rwaxtb+")), "")
            encoded = any(x.arg == "encoding" for x in node.keywords) or "utf-8" in texts
            yield name, mode, encoded, node


def test_text_is_read_and_written_in_a_named_encoding():
    """Windows' own is another one in each country."""
    bare = []
    for path in SOURCES:
        for name, mode, encoded, node in calls(path):
            text = name in ("read_text", "write_text", "fdopen") or (
                name == "open" and (mode or not node.args) and "b" not in mode
            )
            named = {x.arg for x in node.keywords}
            if "fileobj" in named:  # an archive
                continue
            if not encoded and (text or named & {"text", "universal_newlines"}):
                bare.append(f"{path}:{node.lineno}")
    assert not bare


def test_nothing_is_imported_that_one_system_alone_has():
    found = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {name.name: path for name in node.names}
    assert "os" in found
    # setrlimit, where sys.platform says Linux
    assert {name: found[name].name for name in found.keys() & UNIX_ONLY} == {"resource": "job.py"}
    for path in SOURCES:  # processes are forked on Linux, and started anew elsewhere
        text = path.read_text(encoding="utf-8")
        assert text.count("import multiprocessing") == text.count('get_context("spawn")'), path


def test_names_of_files_are_good_on_windows():
    names = ['a<b>c:d"e/f\\g|h?i*j', "ok-1.5 %_ä"]
    assert [files.portable(x) for x in names] == ["a_b_c_d_e_f_g_h_i_j", "ok-1.5 %_ä"]
    assert PureWindowsPath(files.portable("C:/x")).drive == ""
    task = Task("t", ("core: a/b", "edge"), recipe=hip.recipe)
    assert outputs.output_names(Input("x", ()), task, False) == [
        "x_core_ a_b.png",
        "x_edge.png",
    ]


def clash(paths, task=hip):
    found = [Input(path.stem, (path,)) for path in paths]
    outputs.refuse_clashes(found, Path("out"), task, overlays=False, seg="none")


def test_two_masks_are_never_written_to_one_file(monkeypatch):
    paths = Path("one/A.png"), Path("two/a.png")
    monkeypatch.setattr(outputs, "ONE_CASE", False)
    clash(paths)
    monkeypatch.setattr(outputs, "ONE_CASE", True)
    with pytest.raises(InputError, match=r"one/A.png and two/a.png.*rename one"):
        clash(paths)
    with pytest.raises(InputError, match=r"^one/A.png: two classes.*A_b_c.png"):
        clash(paths[:1], Task("t", ("b/c", "b_c"), recipe=hip.recipe))


def test_a_rename_that_windows_refuses_for_a_moment_is_tried_again(monkeypatch, tmp_path):
    """As while a virus scanner or another process reads the file."""
    file, real, refused = tmp_path / "a.json", os.replace, []

    def replace(*paths):
        if len(refused) < 3:
            refused.append(paths)
            raise PermissionError(13, "The process cannot access the file", str(file))
        real(*paths)

    monkeypatch.setattr(files.os, "replace", replace)
    with pytest.raises(PermissionError):  # elsewhere it is no matter of time
        files.write_json(file, 1)
    monkeypatch.setattr(files, "WINDOWS", True)
    monkeypatch.setattr(files, "PAUSES", (0, 0, 0))
    files.write_json(file, 2)
    assert files.read_json(file) == 2 and len(refused) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_pipe_with_few_letters_stops_nothing(monkeypatch, tmp_path):
    pipe = io.TextIOWrapper(io.BytesIO(), encoding="cp1252", newline="\n")
    monkeypatch.setattr(sys, "stdout", pipe)
    monkeypatch.setattr(cli.commands, "run_report", lambda folder: print(f"Done: {folder}"))
    assert cli.main(["report", "żółw–ä"]) == 0
    pipe.flush()
    assert pipe.buffer.getvalue() == "Done: \\u017c\\xf3\\u0142w–ä\n".encode("cp1252").replace(
        b"\\xf3", "ó".encode("cp1252")
    )


def test_pictures_are_not_written_by_opencv_itself():
    """On Windows it finds no path with an accent, and tells nobody."""
    written = [
        path for path in SOURCES for name, *_ in calls(path) if name in ("imwrite", "imread")
    ]
    assert not written and save_png
