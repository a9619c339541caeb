"""What an editor and a type checker see of `tk.*`: every public signature has all its types."""

import ast
import importlib.resources

import pytest
import test_floors

import transfuse_keras as tk

PUBLIC = {name: f"transfuse_keras.{module}" for name, module in tk.MODULES.items()}
PUBLIC |= {name: "transfuse_keras.metrics" for name in tk.metrics.__all__}


def find_definition(module, name):
    """The syntax tree of a name, where it is defined."""
    tree = ast.parse(
        test_floors.FILES.get(module, test_floors.FILES.get(f"{module}.__init__")).read_text()
    )
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
            return node
        if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
            return find_definition(node.module, name)
    return None  # a table


def find_functions(node):
    """The functions that a caller sees: itself, or the constructor of a class."""
    if isinstance(node, ast.FunctionDef):
        return [node]
    return [x for x in getattr(node, "body", ()) if getattr(x, "name", "") == "__init__"]


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_tells_its_types(name):
    for function in find_functions(find_definition(PUBLIC[name], name)):
        of = function.args
        arguments = [*of.posonlyargs, *of.args, *of.kwonlyargs, of.vararg, of.kwarg]
        bare = [x.arg for x in arguments if x and x.arg != "self" and x.annotation is None]
        assert not bare and function.returns is not None


def test_the_package_says_that_it_has_types():
    assert importlib.resources.files("transfuse_keras").joinpath("py.typed").is_file()
