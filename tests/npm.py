"""Files of packages of npm, for tests that speak to what runs in browsers."""

import functools
import io
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest


@functools.cache
def read_packed(package, name):
    """The text of a file in a package, "name@version"; the test is skipped where npm is not."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip(f"npm is not installed, so {package} cannot be fetched")
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([npm, "pack", "--silent", package], cwd=folder, capture_output=True)
        if done.returncode:
            pytest.skip(f"{package} cannot be fetched: {done.stderr.decode()[-200:]}")
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(fileobj=io.BytesIO(archive.read_bytes())) as files:
            return files.extractfile(f"package/{name}").read().decode()
