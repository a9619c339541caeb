"""Masks whose colours are classes, against label maps drawn by hand."""

import numpy as np
import pytest
from data.files import picture, rows_of_labels, save
from PIL import Image

from transfuse_keras.data.check import check
from transfuse_keras.data.classes import find_classes
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.palettes import voc_palette
from transfuse_keras.errors import InputError
from transfuse_keras.tasks import Task

RED, BLUE, SKY = (250, 50, 83), (0, 0, 255), (10, 200, 255)
COLOURS = np.array([(0, 0, 0), RED, BLUE, SKY], "uint8")
organs = Task("organs", ("spleen", "liver tip"), exclusive=True)
CVAT = """# label:color_rgb:parts:actions
Liver_Tip:250,50,83::
background:0,0,0::
other:10,200,255::
spleen:0,0,255::
"""
LISTS = {
    "labelmap.txt": CVAT,
    "label_colors.txt": "250 50 83 Liver tip\n0 0 0 background\n10 200 255 x\n0 0 255 spleen\n",
    "class_dict.csv": "name,r,g,b\nliver tip,250,50,83\nbackground,0,0,0\nx,10,200,255\n"
    "spleen,0,0,255\n",
    "classes.txt": "background 0 0 0\nspleen 0 0 255\nliver tip 250 50 83\nx 10 200 255\n",
}


def write(folder, mode="RGB", images="images", masks="masks", count=3):
    """Images, and masks with a row of each colour."""
    for number in range(count):
        save(folder / images / f"{number}.png", picture(number))
        path = folder / masks / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coloured = Image.fromarray(COLOURS[rows_of_labels()])
        (coloured if mode == "RGB" else coloured.quantize(9)).save(path)
    return folder


def expected(*labels):
    return rows_of_labels()[..., None] == list(labels)


@pytest.mark.parametrize("mode", ["RGB", "P"])
@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_colours_tells_the_classes(tmp_path, name, mode):
    write(tmp_path, mode, "JPEGImages", "SegmentationClass")
    (tmp_path / name).write_text(LISTS[name])
    (sample, *_) = find_samples(organs, tmp_path).samples
    np.testing.assert_array_equal(sample.read()[1], expected(2, 1))
    assert [x.lower()[:6] for x in find_classes(tmp_path).names if len(x) > 5] in (
        ["liver_", "spleen"], ["liver ", "spleen"], ["spleen", "liver "]
    )  # fmt: skip
    single = Task("t", ("spleen",))
    np.testing.assert_array_equal(find_samples(single, tmp_path).samples[0].read()[1], expected(2))
    assert any(f"colours by {name}" in note for note in check(organs, tmp_path).notes)


def test_black_is_background_where_a_list_names_none(tmp_path):
    write(tmp_path)
    (tmp_path / "classes.txt").write_text("spleen 0 0 255\nliver tip 250 50 83\nx 10 200 255\n")
    assert find_classes(tmp_path).names == ("spleen", "liver tip", "x")
    (sample, *_) = find_samples(organs, tmp_path).samples
    np.testing.assert_array_equal(sample.read()[1], expected(2, 1))
    (tmp_path / "classes.txt").write_text(LISTS["classes.txt"].replace("0 0 0", "0 0 1"))
    with pytest.raises(InputError, match="0,0,0"):
        sample.read()


def test_without_a_list_the_colours_are_found_and_name_the_classes(tmp_path):
    write(tmp_path)
    names = find_classes(tmp_path).names
    assert names == ("colour_0000ff", "colour_0ac8ff", "colour_fa3253")
    masks = find_samples(Task("t", names, exclusive=True), tmp_path).samples[0].read()[1]
    np.testing.assert_array_equal(masks, expected(2, 3, 1))
    with pytest.raises(InputError, match=r"0\.png.*labelmap\.txt"):
        find_samples(organs, tmp_path).samples[0].read()


def test_what_is_not_listed_is_refused(tmp_path):
    write(tmp_path)
    path = tmp_path / "labelmap.txt"
    for old, new, word in (
        ("other:10,200,255::\n", "", r"0\.png.*10,200,255.*labelmap"),
        ("spleen", "kidney", r"labelmap\.txt.*spleen"),
        ("0,0,255", "250,50,83", r"labelmap\.txt.*of its own"),
        ("0,0,255", "0,0,256", r"labelmap\.txt"),
    ):
        path.write_text(CVAT.replace(old, new))
        with pytest.raises(InputError, match=word):
            find_samples(organs, tmp_path).samples[0].read()
    path.unlink()
    Image.fromarray(COLOURS[rows_of_labels() + 1 - (rows_of_labels() == 3)]).save(
        tmp_path / "masks" / "0.png"
    )
    for number in (1, 2):
        (tmp_path / "masks" / f"{number}.png").unlink()
    with pytest.raises(InputError, match="background"):
        find_classes(tmp_path)
    soft = np.arange(30 * 40 * 3, dtype="uint8").reshape(30, 40, 3)
    Image.fromarray(soft).save(tmp_path / "masks" / "0.png")
    with pytest.raises(InputError, match=r"0\.png.*31"):
        find_classes(tmp_path)


def test_jpeg_and_transparency_are_refused(tmp_path):
    write(tmp_path, count=1)
    (tmp_path / "labelmap.txt").write_text(CVAT)
    path = tmp_path / "masks" / "0.png"
    coloured = Image.open(path)
    coloured.load()
    clear = coloured.copy()
    clear.putalpha(Image.fromarray(rows_of_labels() * 60))
    clear.save(path)
    with pytest.raises(InputError, match="transparen"):
        find_samples(organs, tmp_path).samples[0].read()
    path.unlink()
    coloured.save(path.with_suffix(".jpg"))
    with pytest.raises(InputError, match="JPEG"):
        find_samples(organs, tmp_path).samples[0].read()


def test_values_stay_values_beside_a_list_or_names_without_colours(tmp_path):
    save(tmp_path / "images" / "1.png", picture(1))
    save(tmp_path / "masks" / "1.png", rows_of_labels(2))
    for text in (CVAT, "spleen\nliver tip\n"):
        (tmp_path / "classes.txt").write_text(text)
        (sample,) = find_samples(organs, tmp_path).samples
        np.testing.assert_array_equal(
            sample.read()[1], expected(1, 2) * (rows_of_labels(2) > 0)[..., None]
        )
    assert find_classes(tmp_path).names == ("spleen", "liver tip")


def test_pascal_voc_as_it_is_downloaded(tmp_path):
    """More images than masks, palette masks with a border of 255, and lists of the splits."""
    labels = rows_of_labels(2)
    labels[7] = 255
    for number in range(5):
        save(tmp_path / "JPEGImages" / f"2007_{number}.jpg", picture(number))
    for number in range(3):
        mask = Image.fromarray(labels).convert("P")
        mask.putpalette(voc_palette().astype("uint8").ravel().tolist())
        path = tmp_path / "SegmentationClass" / f"2007_{number}.png"
        path.parent.mkdir(exist_ok=True)
        mask.save(path)
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_0\n2007_1\n")
    (lists / "val.txt").write_text("2007_2\n")
    (lists / "trainval.txt").write_text("2007_0\n2007_1\n2007_2\n")
    task = Task("t", ("spleen", "liver"), exclusive=True, ignore=255)
    listing = find_samples(task, tmp_path)
    assert not listing.errors
    assert [(x.name, x.split) for x in listing.samples] == [
        ("2007_0", "train"), ("2007_1", "train"), ("2007_2", "val")
    ]  # fmt: skip
    truth = np.where(labels[..., None] == 255, 255, labels[..., None] == [1, 2])
    np.testing.assert_array_equal(listing.samples[0].read()[1], truth)
