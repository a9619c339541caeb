"""A headless Chromium for tests of pages, and axe-core's checks of what everyone can use."""

import shutil
from contextlib import contextmanager

import pytest
from npm import read_packed

AXE = "axe-core@4.14.1"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
# a graphics card that the processor imitates
WEBGPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
QUIET = (
    *("--no-sandbox", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@contextmanager
def browsing():
    """A Browser of Playwright; the test is skipped where there is no Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if find_program() is None:
        pytest.skip("no Chromium is installed")
    with sync_api.sync_playwright() as playwright, launch(playwright.chromium) as browser:
        yield browser


def find_program():
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


def launch(kind, graphics=("--disable-gpu",)):
    """A Browser of a BrowserType of Playwright."""
    return kind.launch(executable_path=find_program(), args=[*QUIET, *graphics])


def find_violations(page):
    """What axe-core finds wrong with a Page: [(rule, HTML of the first element)]."""
    page.evaluate(read_packed(AXE, "axe.min.js"))
    found = page.evaluate("async () => (await axe.run()).violations")
    return [(rule["id"], rule["nodes"][0]["html"][:300]) for rule in found]
