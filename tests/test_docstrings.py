"""The examples in the docstrings of the public names, run."""

import doctest
import logging

import pytest

import transfuse_keras as tk


def list_public():
    """Name -> public class or function."""
    rooms = {"": tk, "metrics.": tk.metrics, "tasks.": tk.tasks}
    public = {
        f"{prefix}{name}": getattr(room, name)
        for prefix, room in rooms.items()
        for name in room.__all__
    }
    return {name: value for name, value in public.items() if callable(value)}


@pytest.mark.parametrize("builds_a_model", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_public_name_has_an_example_that_runs(builds_a_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files
    monkeypatch.setattr(logging.getLogger("transfuse_keras"), "level", logging.WARNING)
    runner, failures = doctest.DocTestRunner(verbose=False), []
    for name, value in list_public().items():
        test = doctest.DocTestParser().get_doctest(value.__doc__, {}, name, None, None)
        assert test.examples, f"{name} has no example"
        if builds_a_model == any("TransFuse(" in x.source for x in test.examples):
            runner.run(test, out=failures.append)
    assert not failures, "".join(failures)
