"""A headless Chromium for tests of pages, and axe-core's checks of what everyone can use."""

import functools
import io
import shutil
import subprocess
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

AXE = "axe-core@4.14.1"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@contextmanager
def browsing():
    """A Browser of Playwright; the test is skipped where there is no Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        pytest.skip("no Chromium is installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(QUIET))
        yield browser
        browser.close()


def find_violations(page):
    """What axe-core finds wrong with a Page: [(rule, HTML of the first element)]."""
    page.evaluate(axe())
    found = page.evaluate("async () => (await axe.run()).violations")
    return [(rule["id"], rule["nodes"][0]["html"][:300]) for rule in found]


@functools.cache
def axe():
    """The script of axe-core, from the npm registry; the test is skipped where that is not."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed, so axe-core cannot be fetched")
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([npm, "pack", "--silent", AXE], cwd=folder, capture_output=True)
        if done.returncode:
            pytest.skip(f"{AXE} cannot be fetched: {done.stderr.decode()[-200:]}")
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(fileobj=io.BytesIO(archive.read_bytes())) as package:
            return package.extractfile("package/axe.min.js").read().decode()
