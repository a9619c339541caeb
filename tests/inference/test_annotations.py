"""Outlines drawn again are the masks: by pycocotools, by Pillow as LabelMe draws, by a ray each."""

import csv
import json
from dataclasses import asdict, replace

import cv2
import nibabel
import numpy as np
import pytest
from data.files import save
from pycocotools.coco import COCO

from transfuse_keras.data.layouts import find_samples
from transfuse_keras.errors import InputError
from transfuse_keras.files import write_json
from transfuse_keras.inference import predict_files as module
from transfuse_keras.inference.annotations import as_coco, as_geojson, as_labelme, measure_certainty
from transfuse_keras.inference.predict_files import predict_files
from transfuse_keras.inference.predictor import Predictor
from transfuse_keras.tasks import Task, prostate

CELLS = Task("cells", ("nucleus", "cell body"))
SIZE = (20, 30)


def blobs(seed, size=SIZE, smooth=1.5):
    """Masks (H, W, 2) of objects with holes, parts that touch at a corner, and the border."""
    rng = np.random.default_rng(seed)
    noise = rng.random((*size, 2)).astype("float32")
    masks = cv2.GaussianBlur(noise, (0, 0), smooth) if smooth else noise
    return (masks < 0.5).astype("uint8")


MASKS = [
    *(blobs(seed, smooth=smooth) for seed, smooth in enumerate((0, 0.6, 1.5))),
    np.ones((*SIZE, 2), "uint8"),
    np.zeros((*SIZE, 2), "uint8"),
    np.eye(20, 30, dtype="uint8")[..., None].repeat(2, axis=-1),  # corners touch
]


def write_images(folder, masks):
    for k, mask in enumerate(masks):
        save(folder / f"{k}.png", np.zeros((*mask.shape[:2], 3), "uint8"))


def read_back(folder):
    found = {x.name: x.read()[1] for x in find_samples(CELLS, folder).samples}
    return [found[str(k)] for k in range(len(found))]


def test_coco_is_drawn_as_it_was_by_pycocotools_and_by_the_package(tmp_path):
    write_images(tmp_path, MASKS)
    images = [
        {"id": k, "file_name": f"{k}.png", "height": SIZE[0], "width": SIZE[1]}
        for k in range(len(MASKS))
    ]
    items = []
    for k, masks in enumerate(MASKS):
        items += as_coco(masks, k, len(items) + 1)
    categories = [{"id": k, "name": name} for k, name in enumerate(CELLS.classes, 1)]
    content = {"images": images, "annotations": items, "categories": categories}
    write_json(tmp_path / "coco.json", content)
    coco = COCO(tmp_path / "coco.json")
    for k, masks in enumerate(MASKS):
        drawn = np.zeros_like(masks)
        for item in coco.loadAnns(coco.getAnnIds([k])):
            own = coco.annToMask(item)
            assert item["area"] == own.sum()
            columns, rows = (np.flatnonzero(own.any(axis=axis)) for axis in (0, 1))
            box = [columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1]
            assert item["bbox"] == box
            assert not drawn[..., item["category_id"] - 1][own > 0].any()
            drawn[..., item["category_id"] - 1] |= own
        np.testing.assert_array_equal(drawn, masks)
    for found, masks in zip(read_back(tmp_path), MASKS, strict=True):
        np.testing.assert_array_equal(found, masks)


def test_labelme_is_drawn_as_it_was_by_pillow(tmp_path):
    write_images(tmp_path / "images", MASKS)
    (tmp_path / "out").mkdir()
    for k, masks in enumerate(MASKS):
        content = as_labelme(masks, CELLS.classes, f"../images/{k}.png")
        assert all(len(shape["points"]) > 2 for shape in content["shapes"])
        write_json(tmp_path / "out" / f"{k}.json", content)
    found = read_back(tmp_path)
    assert len(found) == len(MASKS)
    for drawn, masks in zip(found, MASKS, strict=True):
        np.testing.assert_array_equal(drawn, masks)


def is_inside(rings, x, y):
    """Whether a ray to the right crosses the rings an odd number of times."""
    crossings = 0
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring, ring[1:], strict=False):
            if (y0 > y) != (y1 > y):
                crossings += x0 + (y - y0) * (x1 - x0) / (y1 - y0) > x
    return crossings % 2 == 1


def test_geojson_has_closed_rings_with_holes_which_go_the_other_way_round():
    masks = blobs(3, (12, 16), 0.8)
    masks[2:8, 2:9, 1], masks[4:6, 4:7, 1] = 1, 0
    found = np.zeros_like(masks)
    holes = 0
    for feature in as_geojson(masks, CELLS.classes)["features"]:
        rings = feature["geometry"]["coordinates"]
        for i, ring in enumerate(rings):
            assert ring[0] == ring[-1]
            x, y = np.array(ring).T
            area = (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2
            assert (area > 0) == (i == 0)
        holes += len(rings) - 1
        k = CELLS.classes.index(feature["properties"]["classification"]["name"])
        inside = [[is_inside(rings, x + 0.5, y + 0.5) for x in range(16)] for y in range(12)]
        found[..., k] += np.array(inside, "uint8")
    np.testing.assert_array_equal(found, masks)
    assert holes > 0


def test_the_certainty_of_a_mask_is_its_dice_with_the_probabilities():
    maps = np.array([[0.9, 0.1], [0.6, 0.2], [0.2, 0.0]])
    masks = (maps >= 0.5).astype("uint8")
    # 2 (.9 + .6) / (.9 + .6 + .2 + 2); nothing found, where .2 was the most likely
    assert measure_certainty(maps, masks) == pytest.approx([3 / 3.7, 0.8])
    volume = np.tile(maps, (2, 3, 1, 1))
    assert measure_certainty(volume, np.tile(masks, (2, 3, 1, 1))) == pytest.approx([3 / 3.7, 0.8])


@pytest.fixture
def run_folders(tmp_path, monkeypatch):
    """A function from a task and predictors to run folders, one a predictor."""

    def make(task, predictors):
        models = {}
        for k, predictor in enumerate(predictors):
            folder = tmp_path / "runs" / str(k)
            folder.mkdir(parents=True)
            write_json(folder / "config.json", {"schema": 1, "task": asdict(task), "recipe": {}})
            models[folder] = predictor
        monkeypatch.setattr(module, "load_predictor", lambda path, *_: models[path])
        return list(models)

    return make


def scaled(gain):
    return Predictor(SIZE, 3, 2, lambda images: gain * images[..., :2].astype("float32") / 255)


def test_predict_writes_outlines_and_what_to_look_at_first(run_folders, tmp_path):
    masks, folder, out = MASKS[2], tmp_path / "in", tmp_path / "out"
    for name, light in (("sure", 255), ("unsure", 140), ("between", 200)):
        save(folder / f"{name}.png", light * np.concatenate([masks, masks[..., :1]], axis=-1))
    runs = run_folders(CELLS, [scaled(1)])
    kinds = ["coco", "labelme", "geojson"]
    assert predict_files(runs, [folder], out, contours=kinds, overlays=False) == 0
    rows = list(csv.DictReader((out / "certainty.csv").open()))
    assert [row["name"] for row in rows] == ["unsure", "between", "sure"]
    assert float(rows[-1]["certainty"]) == 1 and float(rows[0]["nucleus"]) < 0.8
    content = json.loads((out / "coco.json").read_text())
    assert [x["file_name"] for x in content["images"]] == [f"{row['name']}.png" for row in rows]
    assert json.loads((out / "sure.json").read_text())["imagePath"] == "../in/sure.png"
    assert json.loads((out / "sure.geojson").read_text())["features"]
    with pytest.raises(InputError, match="corrected by hand"):
        predict_files(runs, [folder], out, contours=["labelme"])


def test_predict_writes_how_far_models_differ(run_folders, tmp_path):
    image = np.zeros((*SIZE, 3), "uint8")
    image[:10, :, 0], image[:, 15:, 1] = 255, 255
    save(tmp_path / "a.png", image)
    runs = run_folders(CELLS, [scaled(1), scaled(0.6)])
    predict_files(runs, [tmp_path / "a.png"], tmp_path / "out", spread=True, overlays=False)
    found = cv2.imread(str(tmp_path / "out" / "a_spread.png"), cv2.IMREAD_UNCHANGED)
    wanted = np.where(
        image[..., :2].any(axis=-1), 0.2 * 510, 0
    )  # 1 and 0.6 are 0.2 from their mean
    np.testing.assert_allclose(found, wanted, atol=1)
    with pytest.raises(InputError, match="--spread"):
        predict_files(runs[:1], [tmp_path / "a.png"], tmp_path / "new", spread=True)
    assert not (tmp_path / "new").exists()


def test_the_spread_of_a_volume_lies_on_its_own_grid(run_folders, tmp_path):
    task = replace(prostate, channels=1, classes=("bright",), field=(60.0, 40.0), flips="")
    values = np.zeros((60, 40, 5), "float32")
    values[10:40, 5:20, 1:3] = 1
    affine = np.diag([-1.0, 1.0, 4.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "a.nii.gz")

    def at(high):
        return Predictor((60, 40), 1, 1, lambda images: np.where(images > 1, high, 0.0))

    size = (60, 40)
    runs = run_folders(task, [replace(at(1.0), size=size), replace(at(0.5), size=size)])
    predict_files(runs, [tmp_path / "a.nii.gz"], tmp_path / "out", spread=True, overlays=False)
    found = nibabel.load(tmp_path / "out" / "a_spread.nii.gz")
    np.testing.assert_allclose(found.affine, affine)
    spread = found.get_fdata()
    assert spread.shape == values.shape
    assert spread[12:38, 7:18, 1:3] == pytest.approx(0.25)
    assert spread[45:, 25:].max() == 0
    with pytest.raises(InputError, match="volumes"):
        predict_files(runs, [tmp_path / "a.nii.gz"], tmp_path / "new", contours=["coco"])
