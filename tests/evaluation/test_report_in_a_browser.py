"""The report as people use it: in a headless Chromium, by mouse, by keyboard and on paper."""

import re

import pytest
from browser import browsing, find_violations
from scored_run import CASES, make_run

from transfuse_keras.evaluation.report import write_report

pytestmark = pytest.mark.slow
LONG = 120_000  # milliseconds: the machine may be busy


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("run"))
    write_report(run)
    return run / "report.html"


@pytest.fixture(scope="module")
def browser():
    with browsing() as found:
        yield found


@pytest.fixture
def page(browser, report):
    """The report in a window of a desktop; the test fails on any error or request of the page."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(LONG)
    said = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url))
    page.goto(report.as_uri())
    yield page
    assert [text for text in said if not text.startswith(("file:", "data:"))] == []
    page.close()


def rows_of(page):
    return page.locator("table.cases tbody tr")


def cells_of(page, head):
    """The texts of a column of the table of cases."""
    heads = page.locator("table.cases thead th").all_inner_texts()
    return page.locator(
        f"table.cases tbody td:nth-child({heads.index(head) + 1})"
    ).all_inner_texts()


def test_axe_finds_nothing_wrong(page):
    assert find_violations(page) == []
    page.locator(".worst button").first.click()
    assert find_violations(page) == []


def test_the_worst_pictures_are_in_the_first_window(page):
    for figure in page.locator(".worst figure").all()[:2]:
        box = figure.bounding_box()
        assert box["y"] + box["height"] < 1000
    sizes = page.locator(".worst svg").evaluate_all("all => all.map(x => x.clientWidth)")
    assert len(sizes) == 12 and min(sizes) > 100


def test_filters_and_sorting(page):
    assert page.get_by_role("status").inner_text() == f"25 of {2 * CASES} rows"
    page.get_by_role("combobox", name="failure").select_option("missed")
    assert set(cells_of(page, "failure")) == {"missed"} and rows_of(page).count() == 5
    page.get_by_role("combobox", name="failure").select_option("any")
    page.get_by_role("combobox", name="class").select_option("organ")
    assert set(cells_of(page, "class")) == {"organ"}
    page.get_by_role("button", name="show more").click()
    page.get_by_role("button", name="show more").click()
    assert rows_of(page).count() == CASES
    for wanted in ("descending", "ascending"):
        page.locator("thead button", has_text="Dice").click()
        assert page.locator("thead th[aria-sort]").get_attribute("aria-sort") == wanted
        dice = [float(text) for text in cells_of(page, "Dice")]
        assert dice == sorted(dice, reverse=wanted == "descending")
    page.get_by_role("searchbox").fill("CASE_007")
    assert cells_of(page, "case") == ["case_007"]


def test_a_case_opens_by_keyboard_and_closes_with_escape(page):
    button = page.locator(".worst button").first
    button.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    assert dialog.locator("h2").inner_text() == button.get_attribute("data-case")
    widths = dialog.locator("svg").evaluate_all("all => all.map(x => x.clientWidth)")
    assert len(widths) == 3 and min(widths) > 300
    page.keyboard.press("Escape")
    assert dialog.count() == 0


def test_on_a_phone_nothing_is_wider_than_the_screen(page):
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_on_paper_it_is_a_few_pages_of_a4(page):
    paper = page.pdf(prefer_css_page_size=True)
    boxes = re.findall(rb"/MediaBox \[([0-9. ]+)\]", paper)
    assert {tuple(round(float(x)) for x in box.split()) for box in boxes} == {(0, 0, 595, 842)}
    assert 4 <= len(boxes) <= 12
