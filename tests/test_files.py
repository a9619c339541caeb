"""A file or folder that is replaced is the old or the new one, whenever the process is killed."""

import os
import shutil
from pathlib import Path

import pytest

from transfuse_keras import files
from transfuse_keras.runs.members import find_members


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours runs after it."""


OLD, NEW = ({"a": text, "b": text} for text in ("old", "new"))


def kill_before(monkeypatch, number):
    """Raise Killed instead of the `number`-th change of the disk, and then change nothing."""
    done = [0]

    def guard(change):
        def call(*arguments, **options):
            done[0] += 1
            if done[0] >= number:
                raise Killed
            return change(*arguments, **options)

        return call

    for module, name in ((os, "rename"), (os, "replace"), (shutil, "rmtree"), (Path, "unlink")):
        monkeypatch.setattr(module, name, guard(getattr(module, name)))


def write(folder, text):
    folder.mkdir()
    for name in "ab":
        (folder / name).write_text(text)


def content(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.parametrize("number", range(1, 8))
@pytest.mark.parametrize("entry", ["the next replacement", "a resumed run", "a reader"])
def test_a_folder_is_the_old_or_the_new_one_wherever_it_is_killed(tmp_path, number, entry):
    folder = tmp_path / "saved_model"
    write(folder, "old")
    with pytest.MonkeyPatch.context() as monkeypatch:
        try:
            kill_before(monkeypatch, number)
            with files.replacing(folder) as temporary:
                write(temporary, "new")
        except Killed:
            pass
    if entry == "a reader":
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(files, "SETTLED", -1)  # as if it were long ago
            assert content(files.settle(folder)) in (OLD, NEW)
        return
    if entry == "a resumed run":
        files.remove_leftovers(tmp_path)
        assert content(folder) in (OLD, NEW)
    else:
        with pytest.raises(OSError), files.replacing(folder):
            raise OSError(28, "No space left on device")
        assert content(folder) in (OLD, NEW)
        with files.replacing(folder) as temporary:  # what was left is not in the way
            write(temporary, "newer")
        assert content(folder) == {"a": "newer", "b": "newer"}
    assert [path.name for path in tmp_path.iterdir()] == ["saved_model"]


@pytest.mark.parametrize("number", [*range(1, 16), 99])
def test_a_graph_is_never_beside_the_weights_of_another(tmp_path, number):
    def write_both(path, text):
        path.write_text(text)
        path.with_suffix(".bin").write_text(text)

    write_both(path := tmp_path / "model.xml", "old")
    with pytest.MonkeyPatch.context() as monkeypatch:
        try:
            kill_before(monkeypatch, number)
            with files.replacing_with_weights(path) as temporary:
                write_both(temporary, "new")
        except Killed:
            pass
    assert not path.exists() or path.read_text() == path.with_suffix(".bin").read_text()
    if number == 99:  # nothing was killed
        assert path.read_text() == "new" and len(list(tmp_path.iterdir())) == 2


def test_a_model_that_was_moved_aside_is_found_but_not_taken_from_a_living_writer(
    tmp_path, monkeypatch
):
    write(tmp_path / ".old.saved_model", "old")
    assert not files.settle(tmp_path / "saved_model").exists()
    monkeypatch.setattr(files, "SETTLED", -1)  # as if it were long ago
    assert find_members(tmp_path / "saved_model") == [tmp_path / "saved_model"]
    assert content(tmp_path / "saved_model") == OLD


def test_folders_that_are_made_at_once_are_different(tmp_path, monkeypatch):
    first_free, made = files.first_free, []

    def slow(path):
        free = first_free(path)
        if len(made) < 2:  # another process makes it between the look and the making
            free.mkdir(parents=True)
            made.append(free)
        return free

    monkeypatch.setattr(files, "first_free", slow)
    assert files.make_first_free(tmp_path / "runs" / "hip").name == "hip-3"
