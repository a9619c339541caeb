"""Which versions made a file."""

import platform
from importlib.metadata import PackageNotFoundError, version


def versions(*packages):
    """{"python": its version, package: its version}; None for one that is not installed, as this
    one is not where it runs from a clone."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found
