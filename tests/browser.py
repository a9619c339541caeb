"""A headless Chromium for tests of pages, and axe-core's checks of what everyone can use."""

import shutil
from contextlib import contextmanager

import pytest
from npm import read_packed

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
    page.evaluate(read_packed(AXE, "axe.min.js"))
    found = page.evaluate("async () => (await axe.run()).violations")
    return [(rule["id"], rule["nodes"][0]["html"][:300]) for rule in found]
