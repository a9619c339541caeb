"""Outlines against the masks that they were traced from, and the size of what is embedded."""

import base64
import re
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from transfuse_keras.errors import InputError
from transfuse_keras.evaluation import pictures
from transfuse_keras.evaluation.pictures import (
    embed_pictures,
    encode_webp,
    read_webp,
    trace_svg,
    write_picture,
)


def fill(path, shape):
    """The mask inside an SVG path, drawn by OpenCV with its rule of even and odd."""
    outlines = []
    for part in re.findall("M([^z]*)z", path):
        points = np.array(re.findall("-?[0-9]+", part), int).reshape(-1, 2)
        outlines.append(points.cumsum(axis=0))
    return cv2.fillPoly(np.zeros(shape, "uint8"), outlines, 1)


def test_an_outline_encloses_its_mask_without_its_hole():
    mask = cv2.circle(np.zeros((300, 400), "uint8"), (150, 120), 90, 1, -1)
    cv2.circle(mask, (150, 120), 40, 0, -1)
    cv2.rectangle(mask, (350, 0), (399, 60), 1, -1)  # at the border of the image
    found = fill(trace_svg(mask), mask.shape)
    assert np.count_nonzero(found != mask) < 0.01 * np.count_nonzero(mask)
    assert trace_svg(np.zeros_like(mask)) == ""
    one = np.zeros((9, 9), "uint8")
    one[4, 3] = 1
    assert trace_svg(one) == "M3 4z"


def test_a_picture_is_small_and_its_outlines_lie_on_its_grid(tmp_path):
    image = np.zeros((600, 1200, 3), "uint8")
    image[:, 600:] = (200, 30, 30)
    truth = np.zeros((600, 1200, 2), "uint8")
    truth[100:300, 600:900, 1] = 1
    sample = SimpleNamespace(name="set/a", file_name="set_a")
    entry = write_picture(tmp_path, 7, sample, image, truth, truth * 0, ("organ", "lesion"))
    assert entry["case"] == "set/a" and entry["file"] == "0007_set_a.webp"
    assert entry["size"] == (512, 256) and entry["prediction"] == {}
    picture = read_webp(tmp_path / entry["file"])
    assert picture.shape == (256, 512, 3)
    assert picture[100, 400] == pytest.approx([200, 30, 30], abs=6)  # still RGB
    (path,) = entry["truth"].values()
    rows, columns = np.nonzero(fill(path, (256, 512)))
    assert list(entry["truth"]) == ["lesion"]
    edges = [rows.min(), rows.max(), columns.min(), columns.max()]
    wanted = np.array([100, 300, 600, 900]) * 512 / 1200
    assert edges == pytest.approx(wanted, abs=1.5)


def test_many_pictures_become_smaller_and_the_worst_stay(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 255, (512, 512, 3), "uint8")
    path = tmp_path / "a.webp"
    path.write_bytes(encode_webp(cv2.GaussianBlur(noise, (0, 0), 2), 512, 80))
    about = {"path": path, "size": (512, 512), "truth": {}, "prediction": {}}

    def side_of(count):
        found = embed_pictures({f"{i}": about for i in range(count)})
        coded = [base64.b64decode(of["uri"].partition(",")[2]) for of in found.values()]
        assert sum(map(len, coded)) <= pictures.BUDGET
        (tmp_path / "b.webp").write_bytes(coded[0])
        return list(found), read_webp(tmp_path / "b.webp").shape[0]

    assert embed_pictures({}) == {}
    monkeypatch.setattr(pictures, "BUDGET", 60_000)
    monkeypatch.setattr(pictures, "MOST_PICTURES", 5)
    assert side_of(1) == (["0"], 512)
    names, small = side_of(7)
    assert names == ["0", "1", "2", "3", "4"] and small < 512


def test_of_a_volume_the_slice_with_most_of_the_truth_is_shown(tmp_path):
    image = np.zeros((3, 32, 32, 1), "float32")
    image[1, 8:24, 8:24] = 1
    truth = np.zeros((3, 32, 32, 1), "uint8")
    truth[1, 8:24, 8:24] = truth[2, 8:10, 8:10] = 1
    sample = SimpleNamespace(name="v", file_name="v")
    entry = write_picture(tmp_path, 0, sample, image, truth, truth, ("block",))
    picture = read_webp(tmp_path / entry["file"])
    assert picture[16, 16].min() > 240 and picture[2, 2].max() < 15
    assert entry["truth"] == entry["prediction"]
    assert fill(entry["truth"]["block"], (512, 512)).sum() == pytest.approx(256**2, rel=0.02)


def test_a_damaged_picture_is_named(tmp_path):
    for content in (b"", b"RIFF"):
        (tmp_path / "a.webp").write_bytes(content)
        with pytest.raises(InputError, match=r"a\.webp: damaged"):
            read_webp(tmp_path / "a.webp")
