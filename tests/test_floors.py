"""The house stands: every room imports only from rooms on lower floors, and nothing in a circle."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import transfuse_keras

PACKAGE = Path(transfuse_keras.__file__).parent

# From the top down; docs/architecture.md draws them. Rooms on one floor do not know each other.
FLOORS = (
    {"cli"},
    {"commands", "arguments"},
    {"training", "benchmark", "publishing"},
    {"evaluation", "serving"},
    {"export"},
    {"inference"},
    {"model"},
    {"weights", "runs"},
    {"backbones"},
    {"layers", "data"},
    {"devices", "tasks", "metrics", "files"},
    {"errors", "versions"},
)
DOORS = {"__init__", "__main__"}
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
LEVEL |= dict.fromkeys(DOORS, -1)


def module_name(path):
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def find_imports(path):
    """Modules of this package that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    modules = {module_name(file) for file in PACKAGE.rglob("*.py")}
    modules |= {module.removesuffix(".__init__") for module in modules}
    return {name for name in names & modules if name != "transfuse_keras"}


FILES = {module_name(path): path for path in PACKAGE.rglob("*.py")}
IMPORTS = {name: find_imports(path) for name, path in FILES.items()}


def room_of(module):
    return module.split(".")[1]


def test_no_room_imports_from_its_own_floor_or_above():
    upward = [
        f"{module} imports {name}"
        for module, names in IMPORTS.items()
        for name in names
        if room_of(name) != room_of(module) and LEVEL[room_of(name)] <= LEVEL[room_of(module)]
    ]
    assert not upward


def test_no_circle():
    known = {module: {n for n in names if n != module} for module, names in IMPORTS.items()}
    TopologicalSorter(known).prepare()  # raises CycleError, which names the circle


def test_the_root_holds_the_doors_and_what_every_room_needs():
    root = {path.stem for path in PACKAGE.glob("*.py")}
    assert root == DOORS | {"cli", "commands", "devices", "errors", "files", "versions"}
    assert len(FLOORS) <= 12
