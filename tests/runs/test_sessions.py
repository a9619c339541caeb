import sys

import pytest

import transfuse_keras
from transfuse_keras.errors import InputError
from transfuse_keras.runs.sessions import (
    describe_session,
    is_command,
    read_sessions,
    write_session,
)


def test_sessions_of_a_run_are_kept_in_turn(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/transfuse", "train", "--data", "my data"])
    assert read_sessions(tmp_path) == []
    first = describe_session()
    assert first["command"] == "transfuse train --data 'my data'"
    assert first["versions"]["transfuse-keras"] == transfuse_keras.__version__
    assert first["devices"] and all(first["devices"])
    write_session(tmp_path, first)
    write_session(tmp_path, first | {"seconds": 12.5})
    write_session(tmp_path, first | {"begun": "2030-01-01T00:00:00+00:00"})
    assert [of["seconds"] for of in read_sessions(tmp_path)] == [12.5, 0.0]


def test_the_module_is_the_command():
    assert is_command("/x/transfuse_keras/__main__.py") and is_command("transfuse")
    assert not is_command("/x/train.py")


def test_damaged_sessions_are_named(tmp_path):
    (tmp_path / "sessions.json").write_text('[{"begun": "x"}]')
    with pytest.raises(InputError, match=r"sessions.json: .*remove it"):
        read_sessions(tmp_path)
