"""COCO JSON, against pycocotools."""

import json
from dataclasses import replace

import numpy as np
import pytest
from data.files import SIZE, picture, save
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from transfuse_keras.data.check import check
from transfuse_keras.data.classes import find_classes
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.shapes import decode_runs, fill_ring
from transfuse_keras.errors import InputError
from transfuse_keras.tasks import Task

cells = Task("cells", ("nucleus", "cell body"))
HEIGHT, WIDTH = SIZE
CATEGORIES = [{"id": 7, "name": "Cell_Body"}, {"id": 3, "name": "nucleus"}]
SQUARE = [5, 5, 15, 5, 15, 12, 5, 12]  # 10 x 7 pixels


def ring_mask():
    """A square with a hole, as bool (30, 40)."""
    mask = np.zeros(SIZE, bool)
    mask[10:25, 12:34] = True
    mask[15:20, 18:25] = False
    return mask


def compressed(mask):
    runs = coco_mask.encode(np.asfortranarray(mask, "uint8"))
    return {"size": list(SIZE), "counts": runs["counts"].decode()}


def uncompressed(mask):
    column = np.concatenate([[False], mask.T.ravel()])
    ends = np.flatnonzero(np.diff(np.concatenate([column, [not column[-1]]])))
    return {"size": list(SIZE), "counts": np.diff(ends, prepend=0).tolist()}


def write(path, objects, names=("a.png",), categories=CATEGORIES, folder=None, start=0):
    """Images and a file of COCO; objects are (number of the image, category, segmentation)."""
    for number, name in enumerate(names):
        save((folder or path.parent) / name, picture(start + number))
    images = [
        {"id": 10 + k, "file_name": name, "height": HEIGHT, "width": WIDTH}
        for k, name in enumerate(names)
    ]
    items = [
        {"id": k, "image_id": 10 + i, "category_id": c, "segmentation": s, "iscrowd": k == 4}
        for k, (i, c, s) in enumerate(objects)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": items, "categories": categories}))


def expected(path, image_id, task):
    """Masks of an image as pycocotools draws them, classes overlapping."""
    coco = COCO(path)
    ids = {"nucleus": 3, "cell body": 7}
    masks = np.zeros((*SIZE, len(task.classes)), "uint8")
    for item in coco.loadAnns(coco.getAnnIds([image_id])):
        index = [ids[name] for name in task.classes].index(item["category_id"])
        masks[..., index] |= coco.annToMask(item)
    return masks


OBJECTS = [
    (0, 3, [SQUARE, [20, 3, 28, 3, 28, 9.4, 20, 9.4]]),  # two parts
    (0, 7, [[-6, 20, 9, 18, 13, 40, -6, 33]]),  # crosses two borders
    (0, 7, compressed(ring_mask())),
    (1, 3, uncompressed(ring_mask())),
    (1, 7, uncompressed(~ring_mask())),  # a crowd, and it begins with 0 pixels of background
    (0, 3, [[15, 5, 40, 5, 40, 8, 15, 8]]),  # touches another and the border
]


def test_masks_are_those_of_pycocotools(tmp_path):
    names = ("ä 1.png", "b.png", "empty.png")
    write(tmp_path / "x.json", OBJECTS, names)
    listing = find_samples(cells, tmp_path)
    assert not listing.errors and [x.name for x in listing.samples] == ["b", "empty", "ä 1"]
    for sample in listing.samples:
        number = names.index(f"{sample.name}.png")
        image, masks = sample.read()
        np.testing.assert_array_equal(image, picture(number))
        truth = expected(tmp_path / "x.json", 10 + number, cells)
        np.testing.assert_array_equal(masks, truth, sample.name)
        assert sample.overlap() == (truth.sum(axis=-1) > 1).sum()
    assert any(note.endswith(": 1.") and "crowd" in note for note in listing.notes)


def test_of_exclusive_classes_the_later_object_is_on_top_and_check_counts(tmp_path):
    write(tmp_path / "x.json", [(0, 3, [SQUARE]), (0, 7, [[10, 5, 20, 5, 20, 12, 10, 12]])])
    labels = np.zeros(SIZE, int)
    labels[5:12, 5:15] = 1
    labels[5:12, 10:20] = 2
    task = replace(cells, exclusive=True)
    _, masks = find_samples(task, tmp_path).samples[0].read()
    np.testing.assert_array_equal(masks, labels[..., None] == [1, 2])
    for each, phrase in ((task, "drawn last"), (cells, "all of them")):
        notes = check(each, tmp_path).notes
        assert any("35 pixels in 1 image." in note and phrase in note for note in notes)


def test_outlines_inside_others_and_flat_ones_are_named(tmp_path):
    hole = [7, 6, 12, 6, 12, 10, 7, 10]
    write(tmp_path / "x.json", [(0, 3, [SQUARE, hole]), (0, 3, [[1, 1, 5, 5], SQUARE])])
    listing = find_samples(cells, tmp_path)
    truth = np.zeros(SIZE, bool)
    truth[5:12, 5:15] = True
    np.testing.assert_array_equal(listing.samples[0].read()[1][..., 0], truth)
    assert "filled: 1" in listing.warnings[0]
    assert "nothing: 1" in listing.warnings[1]


@pytest.mark.parametrize("seed", range(3))
def test_outlines_differ_from_pycocotools_only_where_it_rounds(seed):
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 60))
    radii = 150 + 20 * rng.standard_normal(60)
    ring = np.stack([200 + radii * np.cos(angles), 90 + radii * np.sin(angles)], axis=1)
    (runs,) = coco_mask.frPyObjects([ring.ravel().tolist()], 300, 400)
    truth = coco_mask.decode(runs).astype(bool)
    differ = fill_ring(ring, (300, 400)) != truth
    assert truth.sum() > 10_000 and differ.sum() < 0.005 * truth.sum()


def test_compressed_run_lengths_of_any_size_are_read():
    rng = np.random.default_rng(0)
    for share in (0.001, 0.1, 0.5, 1):
        mask = rng.random((300, 400)) < share
        text = coco_mask.encode(np.asfortranarray(mask, "uint8"))["counts"].decode()
        np.testing.assert_array_equal(decode_runs(text, (300, 400), "x", (300, 400)), mask)
        for damaged in (text[:-1], text[:-1] + "\x7f", text + "P", "o" * 40 + text):
            with pytest.raises(InputError, match="x: .*run lengths"):
                decode_runs(damaged, (300, 400), "x", (300, 400))


def test_classes_and_splits_as_roboflow_and_coco_lay_them(tmp_path):
    parent = {"id": 0, "name": "cells", "supercategory": "none"}
    own = [{**x, "supercategory": "cells"} for x in CATEGORIES]
    for start, part in enumerate(("train", "valid", "test")):
        path = tmp_path / "roboflow" / part / "_annotations.coco.json"
        write(path, [(0, 3, [SQUARE])], ["1.png"], [parent, *own], start=start)
    assert find_classes(tmp_path / "roboflow").names == ("nucleus", "Cell_Body")
    found = find_samples(cells, tmp_path / "roboflow").samples
    assert [(x.name, x.split) for x in found] == [
        ("test/1", "test"), ("train/1", "train"), ("valid/1", "val")
    ]  # fmt: skip
    for start, part in enumerate(("train2017", "val2017")):
        path = tmp_path / "coco" / "annotations" / f"instances_{part}.json"
        folder = tmp_path / "coco" / "images" / part
        write(path, [(0, 3, [SQUARE])], ["1.png"], folder=folder, start=start)
    found = find_samples(cells, tmp_path / "coco").samples
    assert [(x.name, x.split) for x in found] == [("train2017/1", "train"), ("val2017/1", "val")]
    assert find_classes(tmp_path / "coco" / "images") is None


def test_a_path_of_another_machine_finds_the_image_with_most_of_its_end(tmp_path):
    for number, place in enumerate(("p1/img/1.png", "p2/img/1.png")):
        save(tmp_path / place, picture(number))
    write(tmp_path / "x.json", [(0, 3, [SQUARE])], ["p9.png"])
    text = (tmp_path / "x.json").read_text()
    (tmp_path / "x.json").write_text(text.replace("p9.png", "C:\\\\anna\\\\p2\\\\img\\\\1.png"))
    (sample,) = find_samples(cells, tmp_path).samples
    assert sample.files[0] == tmp_path / "p2" / "img" / "1.png"
    (tmp_path / "x.json").write_text(text.replace("p9.png", "1.png"))
    (error,) = find_samples(cells, tmp_path).errors
    assert "x.json" in error and "may be" in error


def change(path, **changes):
    content = json.loads(path.read_text())
    content["annotations"][0] |= changes
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"segmentation": []}, "outline"),
        ({"image_id": 99}, "image_id"),
        ({"category_id": 99}, "category_id"),
        ({"segmentation": [[1, 2, 3]]}, "COCO"),
        ({"segmentation": [[1, 2, float("nan"), 4, 5, 6]]}, "COCO"),
        ({"segmentation": "abc"}, "COCO"),
        ({"segmentation": {"size": [30, 41], "counts": [1230]}}, "size"),
        ({"segmentation": {"size": [30, 40], "counts": [7]}}, "run lengths"),
        ({"segmentation": {"size": [30, 40], "counts": "\x01"}}, "export"),
    ],
)
def test_what_is_no_outline_is_refused(tmp_path, changes, word):
    write(tmp_path / "x.json", [(0, 3, [SQUARE])])
    change(tmp_path / "x.json", **changes)
    with pytest.raises(InputError, match=rf"x\.json.*{word}"):
        find_samples(cells, tmp_path).samples[0].read()


def test_missing_doubled_and_other_images_are_named(tmp_path):
    write(tmp_path / "x.json", [(0, 3, [SQUARE])], ["a.png", "b.png"])
    write(tmp_path / "y.json", [(0, 3, [SQUARE])], ["b.png"])
    (tmp_path / "a.png").unlink()
    errors = find_samples(cells, tmp_path).errors
    assert "a.png, which is missing" in errors[0] and "annotated twice" in errors[1]
    assert not find_samples(cells, tmp_path, masks="y.json").errors
    save(tmp_path / "b.png", picture(0)[:20])
    (sample,) = find_samples(cells, tmp_path, masks="y.json").samples
    with pytest.raises(InputError, match=r"y\.json.*40x30.*40x20"):
        sample.read()


def test_masks_besides_annotations_are_chosen_between(tmp_path):
    write(tmp_path / "x.json", [(0, 3, [SQUARE])], folder=tmp_path / "images")
    save(tmp_path / "masks" / "a.png", np.zeros(SIZE, "uint8"))
    with pytest.raises(InputError, match=r"--masks masks or --masks x\.json"):
        find_samples(cells, tmp_path)
    assert find_samples(cells, tmp_path, masks="x.json").samples[0].read()[1].sum() == 70
    assert find_samples(cells, tmp_path, masks="masks").samples[0].read()[1].sum() == 0


def test_class_names_are_matched_or_refused(tmp_path):
    write(tmp_path / "x.json", [(0, 3, [SQUARE]), (0, 7, [SQUARE])])
    with pytest.raises(InputError, match=r"x\.json.*Cell_Body.*vessel"):
        find_samples(Task("t", ("nucleus", "vessel")), tmp_path)
    listing = find_samples(Task("t", ("nucleus",)), tmp_path)
    assert "1 of Cell_Body" in listing.warnings[0]
    assert listing.samples[0].read()[1].sum() == 70
    write(tmp_path / "x.json", [(0, 3, [SQUARE])], categories=CATEGORIES[1:])
    listing = find_samples(Task("t", ("tumour",)), tmp_path)  # the only class is the only class
    assert any("nucleus" in note and "tumour" in note for note in listing.notes)
    assert listing.samples[0].read()[1].sum() == 70
