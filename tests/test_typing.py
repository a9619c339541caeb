"""What an editor and a type checker see of `tk.*`: every public signature has all its types."""

import importlib.resources
import inspect
import sys
import tomllib
from functools import cached_property
from pathlib import Path

import pytest
from test_docstrings import list_public

from transfuse_keras.training.run import Run


def is_ours(thing):
    return thing.__module__.partition(".")[0] == "transfuse_keras"


def find_methods(cls):
    """{name: function} of what a caller sees of a class, with what it inherits from ours."""
    found = {}
    for owner in filter(is_ours, inspect.getmro(cls)):
        for name, value in vars(owner).items():
            if isinstance(value, cached_property):
                value = value.func
            value = getattr(value, "fget", getattr(value, "__func__", value))
            shown = not name.startswith("_") or name in ("__init__", "__call__")
            if shown and inspect.isfunction(value):
                found[f"{owner.__qualname__}.{name}"] = value
    return found


def find_public():
    """{name: function} of all functions and methods of ours that `tk.*` leads to."""
    found = {}
    for value in (*list_public().values(), Run):  # which tk.train gives
        if inspect.isclass(value):
            found |= find_methods(value)
        elif inspect.isfunction(value) and is_ours(value):
            found[value.__qualname__] = value
    return found


PUBLIC = find_public()


@pytest.mark.parametrize("name", PUBLIC)
def test_what_is_public_tells_its_types(name):
    signature = inspect.signature(PUBLIC[name])
    given = [x for x in signature.parameters.values() if x.name not in ("self", "cls")]
    bare = [x.name for x in given if x.annotation is inspect.Parameter.empty]
    assert not bare and signature.return_annotation is not inspect.Signature.empty


def test_methods_are_looked_at_whoever_defines_them():
    """By a class, the class it comes from, and as property."""
    assert {"TransFuse.fit", "ImageScore.result", "Run.predictor", "Task.inputs"} <= PUBLIC.keys()


def test_mypy_reads_every_module_that_defines_something_public():
    root = Path(__file__).parents[1]
    files = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["mypy"]["files"]
    for function in PUBLIC.values():
        file = Path(sys.modules[function.__module__].__file__)
        assert any(file.is_relative_to(root / name) for name in files), file


def test_the_package_says_that_it_has_types():
    assert importlib.resources.files("transfuse_keras").joinpath("py.typed").is_file()
