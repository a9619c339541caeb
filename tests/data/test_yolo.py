"""YOLO's outlines, against Ultralytics and masks drawn by hand."""

import numpy as np
import pytest
from conftest import FIXTURES
from data.files import SIZE, picture, save
from scipy.ndimage import binary_erosion

from transfuse_keras.data.classes import find_classes
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.errors import InputError
from transfuse_keras.tasks import Task

cracks = Task("cracks", ("crack", "spalling"))
# of 40 x 30 pixels: columns 10 to 19, rows 6 to 14
BOX = "0.25 0.2 0.5 0.2 0.5 0.5 0.25 0.5"
# a square of columns 4 to 27 and rows 3 to 26 with a hole of columns 8 to 15 and rows 9 to 17, as
# one outline that goes to the hole and back
HOLE = "0.1 0.1 0.7 0.1 0.7 0.9 0.1 0.9 0.1 0.1 0.2 0.3 0.2 0.6 0.4 0.6 0.4 0.3 0.2 0.3"
BORDER = "-0.1 0.8 0.05 0.8 0.05 1.2 -0.1 1.2"  # columns 0 and 1, rows 24 to 29


def expected():
    masks = np.zeros((*SIZE, 2), "uint8")
    masks[6:15, 10:20, 0] = 1
    masks[24:, :2, 0] = 1
    masks[3:27, 4:28, 1] = 1
    masks[9:18, 8:16, 1] = 0
    return masks


def write(folder, description, labels, images="images/train"):
    """data.yaml, and images with their files of outlines: stem -> lines."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data.yaml").write_text(description, encoding="utf-8")
    for number, (stem, lines) in enumerate(labels.items()):
        save(folder / images / f"{stem}.png", picture(number))
        path = folder / images.replace("images", "labels") / f"{stem}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        if lines is not None:
            path.write_text(lines)


NAMES = "names:\n  0: Crack\n  1: spalling\n"


def test_masks_are_those_drawn_by_hand(tmp_path):
    lines = f"0 {BOX}\n1 {HOLE}\n\n0 {BORDER}\n"
    labels = {"Riß 1": lines, "empty": "", "none": None}
    write(tmp_path, f"train: images/train\n{NAMES}", labels)
    listing = find_samples(cracks, tmp_path)
    assert not listing.errors and {x.split for x in listing.samples} == {"train"}
    by_name = {x.name: x for x in listing.samples}
    image, masks = by_name["Riß 1"].read()
    np.testing.assert_array_equal(image, picture(0))
    np.testing.assert_array_equal(masks, expected())
    assert by_name["Riß 1"].overlap() == 90 - 6 * 6 == expected().all(axis=-1).sum()
    assert not by_name["empty"].read()[1].any() and not by_name["none"].read()[1].any()
    assert any("1 of 3 images" in note for note in listing.notes)
    assert find_classes(tmp_path).names == ("Crack", "spalling")


def test_objects_are_those_of_ultralytics(tmp_path):
    """yolo_ultralytics.npz: these files as `YOLODataset` of Ultralytics 8.4.190 reads them, filled
    by its `polygon2mask`, the objects of a class laid together.

    It counts each pixel that an outline touches, we those whose centres lie inside: so ours is
    within its mask, and what it has more is at its edge.
    """
    blob = "0.61 0.55 0.83 0.48 0.97 0.71 0.78 0.93 0.55 0.80"
    parts = {
        "train": {
            "a": f"0 {BOX}\n1 {HOLE}\n0 {blob}\n",
            "b": "1 0 0.8 0.05 0.8 0.05 1 0 1\n0 0.3 0 0.6 0 0.55 0.4\n",  # at the border
        },
        "val": {"c": f"1 {blob}\n", "empty": ""},
    }
    for part, labels in parts.items():
        description = f"train: images/train\nval: images/val\n{NAMES}"
        write(tmp_path, description, labels, f"images/{part}")
    listing = find_samples(cracks, tmp_path)
    found = {f"{x.split}/{x.files[0].stem}": x.read()[1].astype(bool) for x in listing.samples}
    golden = np.load(FIXTURES / "yolo_ultralytics.npz")
    assert not listing.errors and sorted(found) == sorted(golden)
    for name, masks in found.items():
        theirs = golden[name].astype(bool)
        inner = binary_erosion(theirs, np.ones((3, 3, 1)), border_value=1)
        assert (inner <= masks).all() and (masks <= theirs).all(), name
        assert masks.any(axis=(0, 1)).tolist() == theirs.any(axis=(0, 1)).tolist()


@pytest.mark.parametrize("kind", ["ultralytics", "roboflow", "cvat"])
def test_splits_are_folders_or_lists(tmp_path, kind):
    """Where Ultralytics, Roboflow and CVAT put images, and how data.yaml names them."""
    folders = {part: f"images/{part}" for part in ("train", "val", "test")}
    lines = [f"{part}: images/{part}" for part in folders]
    if kind == "roboflow":
        folders = {"train": "train/images", "val": "valid/images", "test": "test/images"}
        lines = [f"{part}: ../{folder}" for part, folder in folders.items()]
    if kind == "cvat":
        lines = [f"{part}: {part}.txt" for part in folders]
    root = tmp_path / "data"
    for part, folder in folders.items():
        stem = f"{part}1"
        description = "\n".join(["path: .", *lines, "names: [crack, spalling]"])
        write(root, description, {stem: f"1 {BOX}"}, folder)
        (root / f"{part}.txt").write_text(f"data/{folder}/{stem}.png\n" * (kind == "cvat"))
    listing = find_samples(cracks, root)
    assert not listing.errors
    assert {(x.files[0].stem, x.split) for x in listing.samples} == {
        (f"{part}1", part) for part in folders
    }
    assert all(x.read()[1].sum() == 90 for x in listing.samples)


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        ("0 0.5 0.5 0.1 0.1\n", r"1\.txt: line 1 is a box"),
        (f"0 {BOX}\n1 0.5 0.5 0.1 0.1\n", r"1\.txt: line 2 is a box"),
        (f"7 {BOX}\n", r"1\.txt: line 1 .*class 7"),
        ("0 0.1 0.1 0.2 0.2 0.3\n", r"1\.txt: .*outline"),
        ("0 10 10 20 10 20 20\n", r"1\.txt: .*shares"),
        ("crack 0.1 0.1 0.2 0.2 0.3 0.3\n", r"1\.txt: "),
        (None, r"data\.yaml: .*labels"),
    ],
)
def test_boxes_and_what_is_no_outline_are_refused(tmp_path, lines, word):
    write(tmp_path, f"train: images/train\n{NAMES}", {"1": lines})
    with pytest.raises(InputError, match=word):
        find_samples(cracks, tmp_path)


def test_missing_folders_and_images_are_named(tmp_path):
    description = f"train: images/train\nval: images/val\ntest: test.txt\n{NAMES}"
    write(tmp_path, description, {"1": f"0 {BOX}"})
    (tmp_path / "test.txt").write_text("images/test/9.png\n")
    errors = find_samples(cracks, tmp_path).errors
    assert "data.yaml" in errors[0] and "images/val" in errors[0]
    assert "test.txt" in errors[1] and "9.png" in errors[1]


def test_outlines_without_their_description_are_told_what_lacks(tmp_path):
    write(tmp_path, "", {"1": f"0 {BOX}"}, "images")
    (tmp_path / "data.yaml").unlink()
    with pytest.raises(InputError, match=r"labels.*data\.yaml"):
        find_samples(cracks, tmp_path)


def test_linked_folders_of_images_are_followed(tmp_path):
    write(tmp_path / "stored", f"train: images/train\n{NAMES}", {"1": f"0 {BOX}"})
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "data.yaml").write_text(f"train: images/train\n{NAMES}")
    for part in ("images", "labels"):
        (folder / part).symlink_to(tmp_path / "stored" / part)
    (sample,) = find_samples(cracks, folder).samples
    assert sample.read()[1].sum() == 90
