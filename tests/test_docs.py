"""What the pages say about the code is so; nothing here imports Keras."""

import re

import pytest
from pages import PAGES, ROOT, shell_lines
from test_floors import FLOORS, PACKAGE

import transfuse_keras.commands
from transfuse_keras.cli import parse
from transfuse_keras.data.splits import NNUNET_SEED
from transfuse_keras.model.variants import VARIANTS
from transfuse_keras.tasks import TASKS, Recipe

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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_on_a_page_has_options_that_exist(page):
    for words in shell_lines(page):
        after = words[words.index("transfuse") + 1 :] if "transfuse" in words else []
        if after and "--help" not in after and hasattr(transfuse_keras.commands, f"run_{after[0]}"):
            given = [re.sub(r"\$\w+", "1", word) for word in after if word != "..."]
            parse(given)  # exits where one does not exist


def test_the_drawing_has_the_floors_of_the_code():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawing = re.search(r"```text\n(.*?)```", page, re.DOTALL)[1]
    assert [set(line[:36].split()) for line in drawing.splitlines()] == list(FLOORS)


def test_the_page_on_the_paper_names_our_files_and_our_values():
    page = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
    found = []
    for line in page.splitlines():
        if line.startswith("| "):
            folder = ""
            for path in re.findall(r"`([\w/*]*(?:\.py|/))`", line.split("|")[2]):
                folder = path.rpartition("/")[0] if "/" in path else folder
                files = list(PACKAGE.glob(path if "/" in path else f"{folder}/{path}"))
                assert files, path
                found += files
    assert len(set(found)) > 20
    own, polyp, skin, prostate = Recipe(), *(TASKS[x].recipe for x in ("polyp", "skin", "prostate"))
    for term, *ours in (
        ("12 layers", VARIANTS["L*"].depth),
        ("8 layers of DeiT-S", VARIANTS["S"].depth),
        ("10 layers of DeiT-B", VARIANTS["L"].depth),
        ("Adam, 1e-4 (skin 7e-5), batch 16, 30 epochs", own.learning_rate, skin.learning_rate)
        + (own.batch_size, own.epochs),
        ("betas 0.5 and 0.999", *own.betas),
        ("norm clipped to 2.0", own.clip_norm),
        ("1e-8", own.epsilon),
        ("skin at 192x256", *skin.image_size),
        ("Polyp and hip at 352x352", *polyp.image_size),
        ("slices at 320x320", *prostate.image_size),
        ("three scales, 0.75, 1, 1.25", *polyp.scales),
        ("elements of the gradient clipped at 0.5", polyp.clip_value),
        ("0.2 on both branches", own.dropout),
        ("seed 12345", NNUNET_SEED),
    ):
        assert term in page
        assert [float(x) for x in re.findall(r"\d[\d.]*(?:e-\d)?", term)] == ours, term


def test_the_site_shows_public_parameters_alone():
    griffe = pytest.importorskip("griffe", reason="make docs installs it")
    extensions = griffe.load_extensions(str(ROOT / "docs" / "hooks.py"))
    model = griffe.load(
        "transfuse_keras.model.transfuse.TransFuse", extensions=extensions, search_paths=[ROOT]
    )
    shown = [x.name for x in model.parameters]
    assert shown[:3] == ["self", "variant", "input_shape"] and shown[-1] == "name"


def test_the_page_on_dicom_runs():
    page = (ROOT / "docs" / "dicom.md").read_text(encoding="utf-8")
    names = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
    assert names["task"].coded_terms("left_lung")[2] == names["LEFT"]
