"""A run is published to a stand-in for the hub, whole, once, and without a trace of the token."""

import json
import re
import zipfile

import numpy as np
import pytest
from hub_server import TOKEN, digest, serving_hub
from huggingface_hub import ModelCard
from scored_run import CLASSES, make_run

from transfuse_keras.cli import main
from transfuse_keras.files import write_json
from transfuse_keras.model.preset import PRESET
from transfuse_keras.publishing.card import write_card
from transfuse_keras.runs.metadata import write_metadata
from transfuse_keras.runs.settings import Settings, plain_settings
from transfuse_keras.tasks import Recipe, Task

VERIFIED = {"images": "32 test images", "largest_difference": 2e-6, "dice": 0.9, "dice_lost": 1e-3}
SECRETS = ("Miller_Anna", "/hospital/secret")  # of the patients, and of the one who trained


@pytest.fixture
def run(tmp_path):
    """A made-up run that was scored and exported; it holds no real weights."""
    folder = tmp_path / "organs"
    folder.mkdir()
    make_run(folder)
    task = Task("organs", CLASSES, flips="h")
    settings = Settings(task, f"{SECRETS[1]}/Organs", Recipe("S", (192, 256)))
    write_json(folder / "config.json", plain_settings(settings))
    with zipfile.ZipFile(folder / "model.keras", "w") as archive:
        registered = {"registered_name": "transfuse_keras>TransFuse", "config": {"weights": None}}
        archive.writestr("config.json", json.dumps(registered))
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.h5", bytes(1_000_000))
    add_export(folder, "model.tflite", "model.keras")
    add_export(folder, "model.onnx", "sessions.json")  # verified against another model
    (folder / "overlays").mkdir()
    (folder / "overlays" / "0.png").write_bytes(b"picture")
    entry = {"file": "0.png", "case": SECRETS[0], "score": 0.75, "rank": "worst"}
    write_json(folder / "overlays" / "index.json", [entry])
    return folder


def add_export(run, name, source):
    (run / name).write_bytes(name.encode())
    write_metadata(run / name, {"quantize": "none"}, VERIFIED, run / source)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The stand-in, which huggingface_hub in this process takes for the hub."""
    with serving_hub() as server:
        template = f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        for name, value in {
            **{"ENDPOINT": server.address, "HUGGINGFACE_CO_URL_TEMPLATE": template},
            **{"HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": True},
        }.items():
            monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr("time.sleep", lambda _: None)
        yield server


def published(run, *options):
    return main(["push", "--model", str(run), "--license", "cc-by-4.0", *options])


def test_a_run_arrives_whole_though_the_upload_is_cut_off(run, hub, tmp_path, capsys):
    hub.cuts = 1
    assert published(run, "--repo", "user/organs", "--out", str(tmp_path / "out")) == 0
    files = hub.repositories["user/organs"]
    exported = ["model.tflite", "model.tflite.json"]
    assert sorted(files) == sorted([*PRESET, *exported, "README.md"])
    assert hub.private == {"user/organs": True}
    assert files == {x.name: x.read_bytes() for x in (tmp_path / "out").iterdir()}
    said = capsys.readouterr()
    assert "model.onnx" in said.err and "not verified" in said.err
    everything = [x.read_bytes() for x in tmp_path.rglob("*") if x.is_file()]
    everything += [said.out.encode(), said.err.encode()]
    assert not any(TOKEN.encode() in content for content in everything)
    assert not any(x.encode() in content for x in SECRETS for content in files.values())


def test_a_new_version_replaces_its_own_files_and_sends_no_large_one_twice(run, hub):
    assert published(run, "--repo", "user/organs", "--pictures") == 0
    files = hub.repositories["user/organs"]
    assert "pictures/worst.png" in files and files["pictures/worst.png"] == b"picture"
    files |= {"model.onnx": b"of a former version", "thesis.pdf": b"of the user"}
    (run / "model.tflite").unlink()
    assert published(run, "--repo", "user/organs") == 0
    assert sorted(files) == sorted([*PRESET, "README.md", "thesis.pdf"])
    assert hub.sent.count(digest(bytes(1_000_000))) == 1


def test_what_cannot_be_uploaded_is_told_in_a_sentence(run, hub, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_ofAnother")
    assert published(run, "--repo", "user/organs") == 2
    assert "user/organs" in capsys.readouterr().err and not hub.repositories
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.cuts = 100
    assert published(run, "--repo", "user/organs") == 1
    error = capsys.readouterr().err
    assert "repeat" in error and TOKEN not in error
    assert hub.repositories == {"user/organs": {}}  # nothing, not a part
    assert published(run, "--repo", "no name") == 2


def test_the_licence_of_weights_from_data_has_to_be_given(run, tmp_path, capsys):
    assert main(["push", "--model", str(run), "--out", str(tmp_path / "out")]) == 2
    assert "--license" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert main(["push", "--model", str(run)]) == 2  # neither --repo nor --out
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.docx").write_text("years of work")
    assert published(run, "--out", str(tmp_path / "full")) == 2
    assert [x.name for x in (tmp_path / "full").iterdir()] == ["thesis.docx"]


def test_the_hub_reads_the_head_of_the_card(run, hub):
    assert published(run, "--repo", "user/organs") == 0
    card = ModelCard(hub.repositories["user/organs"]["README.md"].decode())
    metrics = json.loads((run / "metrics.json").read_text())
    assert card.data.license == "cc-by-4.0" and card.data.library_name == "keras"
    assert card.data.pipeline_tag == "image-segmentation"
    found = {x.metric_name: x.metric_value for x in card.data.eval_results}
    assert found["Dice (organ)"] == pytest.approx(metrics["classes"]["organ"]["dice"], abs=5e-5)
    assert found["Dice (mean of the classes)"] == pytest.approx(metrics["mean"]["dice"], abs=5e-5)
    (head,) = hub.heads  # which the hub was asked to check
    (listed,) = head["model-index"]
    assert listed["name"] == "organs" and len(listed["results"][0]["metrics"]) == len(found)
    statistics = metrics["statistics"]["organ"]["dice"]
    assert f"[{statistics['low']:.3f}, {statistics['high']:.3f}]" in card.text
    assert "training 3 images of 2 patients" in card.text and "| Data | Organs |" in card.text
    assert 'flips="h"' in card.text and "(0.5, 0.5)" in card.text


def test_a_card_beside_a_file_alone_says_how_to_run_and_to_make_it(run, tmp_path):
    (tmp_path / "card").mkdir()
    exports = {"model-int8.tflite": VERIFIED}
    words = {"licence": "cc-by-4.0", "data": "Scans of a clinic", "command": "make organs"}
    write_card(run, tmp_path / "card", exports=exports, **words)
    (file,) = (tmp_path / "card").iterdir()  # no picture
    text = file.read_text()
    assert "--model model-int8.tflite" in text and "its Dice by -0.0010" in text
    assert words["data"] in text and words["command"] in text
    assert not any(x in text for x in ("hf ", "hf://", "model.weights.h5", "USER"))


@pytest.mark.slow
def test_the_code_of_the_card_gives_the_masks_of_the_model(
    run, hub, smallest, tmp_path, monkeypatch
):
    import transfuse_keras as tk
    from transfuse_keras.data.pictures import save_png

    model, image = smallest((32, 48, 3), len(CLASSES)), tk.phantoms("skin", 1, (75, 101))[0][0]
    model.save(run / "model.keras")
    maps = tk.predict(model, image, flips="h")
    thresholds = [float(x) for x in np.median(maps, axis=(0, 1))]
    write_json(run / "threshold.json", {"thresholds": dict(zip(CLASSES, thresholds, strict=True))})
    assert published(run, "--repo", "user/organs") == 0
    card = hub.repositories["user/organs"]["README.md"].decode()
    monkeypatch.chdir(tmp_path)
    save_png(tmp_path / "image.png", image)
    code, found = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1], {}
    exec(code, found)
    wanted = maps >= np.float32(thresholds)
    assert 0.3 < wanted.mean() < 0.7 and found["masks"].shape == (75, 101, len(CLASSES))
    np.testing.assert_array_equal(found["masks"], wanted)


def test_what_is_no_run_is_refused_with_what_to_give(run, tmp_path, capsys):
    folds = tmp_path / "folds"
    folds.mkdir()
    write_json(folds / "cross-validation.json", {})
    for given, remedy in ((folds, "fold-0"), (run / "model.tflite", "the folder of a run")):
        assert published(given, "--out", str(tmp_path / "out")) == 2
        assert f"model.keras: no such file; give {remedy}" in capsys.readouterr().err.replace(
            f"{folds}/fold-0", "fold-0"
        )
