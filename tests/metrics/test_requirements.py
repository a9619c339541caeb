"""What a user installs beside the package: the current releases of NumPy and OpenCV too."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def all_requirements(name, done):
    """Every requirement of a package and of what it brings, as installed here."""
    if name in done:
        return
    done.add(name)
    try:
        found = [Requirement(text) for text in requires(name) or []]
    except PackageNotFoundError:
        return
    for requirement in found:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield name, requirement
            yield from all_requirements(requirement.name.lower(), done)


@pytest.mark.parametrize(
    ("package", "release"), [("numpy", "2.4.6"), ("opencv-python-headless", "5.0.0.93")]
)
def test_no_requirement_holds_back(package, release):
    wanted = tomllib.loads(PROJECT.read_text())["project"]["dependencies"]
    done = set()
    pairs = [("transfuse-keras", Requirement(text)) for text in wanted]
    for _, requirement in list(pairs):
        pairs += all_requirements(requirement.name.lower(), done)
    asking = [(name, r) for name, r in pairs if re.sub("[_.]", "-", r.name.lower()) == package]
    assert len(asking) >= 1
    assert not [f"{name}: {r}" for name, r in asking if not r.specifier.contains(release)]
