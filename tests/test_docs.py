"""What the pages say about the code is so; nothing here imports Keras."""

import re
from pathlib import Path

import pytest
from test_floors import FLOORS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# not train/, which folders of data have too
FOLDERS = "transfuse_keras|tests|benchmarks|examples|edge|notebooks|docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_on_a_page_exists(page):
    text = page.read_text(encoding="utf-8")
    paths = re.findall(rf"(?<![\w/.])((?:{FOLDERS})/[\w./-]*\w)", text)
    assert not [path for path in paths if not (ROOT / path).exists()]
    for name in re.findall(r"(?:from |import |`)(transfuse_keras\.[\w.]*\w)", text):
        place = ROOT.joinpath(*name.split("."))  # of a room, a module, or a name in a module
        files = place.with_suffix(".py"), place.parent.with_suffix(".py")
        assert place.is_dir() or any(file.is_file() for file in files), name


def test_the_drawing_has_the_floors_of_the_code():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawing = re.search(r"```text\n(.*?)```", page, re.DOTALL)[1]
    assert [set(line[:36].split()) for line in drawing.splitlines()] == list(FLOORS)
