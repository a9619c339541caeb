"""The models in docs/models are what their cards say; the demonstration on the site runs one."""

import json
import re
import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser import browsing
from export.test_web import PATIENCE, Server, segment, spoken, told
from huggingface_hub import ModelCard

from transfuse_keras.data.phantoms import phantoms
from transfuse_keras.data.pictures import save_png
from transfuse_keras.errors import InputError
from transfuse_keras.export import web
from transfuse_keras.inference.describe import describe_file
from transfuse_keras.inference.predict_files import predict_files
from transfuse_keras.inference.predictor import load_predictor
from transfuse_keras.metrics import dice
from transfuse_keras.runs.embedded import read_embedded
from transfuse_keras.tasks import hip

DOCS = Path(__file__).parents[2] / "docs"
FILE = "model-int8.tflite"
MODELS = {"hip": ("apache-2.0", 4e6), "hippocampus": ("cc-by-sa-4.0", 8e6)}  # licence, bytes


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_small_and_its_card_names_licence_and_command(name):
    folder, (licence, largest) = DOCS / "models" / name, MODELS[name]
    card = ModelCard((folder / "README.md").read_text(encoding="utf-8"))
    assert card.data.license == licence and card.data.eval_results
    assert (folder / FILE).stat().st_size < largest
    assert f"python docs/models/make.py {name}" in card.text
    about = describe_file(folder / FILE)
    assert about["task"] == name and about["variant"] in card.text
    beside = json.loads((folder / f"{FILE}.json").read_text(encoding="utf-8"))
    assert beside == read_embedded(folder / FILE)


def test_no_picture_of_a_patient_is_among_them():
    pictures = {x.parent.parent.name for x in (DOCS / "models").rglob("*.png")}
    assert pictures == {"hip"}  # phantoms


def test_the_hip_model_finds_the_bones_of_phantoms_it_has_not_seen():
    predictor = load_predictor(DOCS / "models" / "hip" / FILE)
    images, masks, _ = phantoms("hip", 12, predictor.size, seed=2026)
    found = np.concatenate([predictor.run(image[None].astype("float32")) for image in images])
    pairs = zip(np.moveaxis(masks, -1, 1), np.moveaxis(found >= 0.5, -1, 1), strict=True)
    scores = [dice(a, b) for truths, of in pairs for a, b in zip(truths, of, strict=True)]
    assert np.mean(scores) > 0.9


@pytest.fixture(scope="module")
def build_demo():
    """The hook of the site that adds the page of the demonstration."""
    pytest.importorskip("griffe", reason="make docs installs it")
    return runpy.run_path(str(DOCS / "hooks.py"))["on_post_build"]


@pytest.mark.slow
def test_the_demonstration_outlines_a_phantom_in_a_browser(build_demo, tmp_path):
    build_demo({"site_dir": str(tmp_path)})
    folder = tmp_path / "demo" / "page"
    if not folder.is_dir():
        pytest.skip("LiteRT.js cannot be had from the npm registry")
    model = folder / "model.tflite"
    beside = sum(x.stat().st_size for x in folder.iterdir() if x.is_file())
    assert beside < 4e6 and (folder / "runtime" / "LICENSE.txt").is_file()
    images, masks, _ = phantoms("hip", 1, (300, 360), seed=2026)
    save_png(tmp_path / "phantom.png", images[0])
    assert predict_files(model, [tmp_path / "phantom.png"], tmp_path / "out", overlays=False) == 0
    with browsing() as browser:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(Server(folder).url)
        assert "Ready" in told(page, "Ready|cannot")
        assert " s by " in segment(page, tmp_path / "phantom.png")
        for i, name in enumerate(hip.classes):
            with page.expect_download() as download:
                page.get_by_role("button", name=f"Save mask of {spoken(name)}").click()
            download.value.save_as(tmp_path / "mask.png")
            found = cv2.imread(str(tmp_path / "mask.png"), cv2.IMREAD_UNCHANGED) > 0
            python = cv2.imread(str(tmp_path / "out" / f"phantom_{name}.png"), 0) > 0
            assert dice(python, found) > 0.99 and dice(masks[0, ..., i], found) > 0.9


def test_without_a_network_the_site_is_built_without_it(build_demo, tmp_path, capsys, monkeypatch):
    def fail(name, digest):
        raise InputError("registry.npmjs.org: cannot be loaded")

    monkeypatch.setattr(web, "fetch_package", fail)
    build_demo({"site_dir": str(tmp_path)})
    assert not (tmp_path / "demo").exists()
    assert re.search("page .*cannot be loaded", capsys.readouterr().err)
