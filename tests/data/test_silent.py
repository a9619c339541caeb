"""Data of which two readings are possible: the right one is taken, or it is refused."""

import json

import numpy as np
import pytest
from data.files import binary_folder, decathlon_folder
from PIL import Image

from transfuse_keras.data.check import check
from transfuse_keras.data.classes import find_classes, make_task
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.layouts.tables import read_class_names
from transfuse_keras.errors import InputError
from transfuse_keras.tasks import Task

STEMS = [f"i{k}" for k in range(4)]
ONE = Task("t", ("lesion",))


def labels():
    values = np.zeros((24, 24), "uint8")
    values[2:8, 2:8], values[12:20, 12:20] = 1, 2
    return values


# colours ---------------------------------------------------------------------------------------


def test_a_palette_of_several_colours_is_read_as_the_same_colours_are(tmp_path):
    binary_folder(tmp_path, STEMS)
    for stem in STEMS:
        picture = Image.fromarray(labels(), "P")
        picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
        picture.save(tmp_path / f"masks/{stem}.png")
        Image.new("RGB", (24, 24)).save(tmp_path / f"images/{stem}.png")
    task = make_task(tmp_path)
    assert task.classes == ("colour_00ff00", "colour_ff0000")
    _, masks = find_samples(task, tmp_path).samples[0].read()
    np.testing.assert_array_equal(masks[..., 0], labels() == 2)
    np.testing.assert_array_equal(masks[..., 1], labels() == 1)


def test_coloured_masks_beside_label_maps_are_refused(tmp_path):
    binary_folder(tmp_path, STEMS)
    colours = np.zeros((24, 24, 3), "uint8")
    colours[labels() == 1] = (255, 0, 0)
    for stem in STEMS[:2]:
        Image.fromarray(colours).save(tmp_path / f"masks/{stem}.png")
    for stem in STEMS[2:]:
        Image.fromarray(labels()).save(tmp_path / f"masks/{stem}.png")
    with pytest.raises(InputError, match=r"i\d.png: holds values, but other masks .* colours"):
        find_classes(tmp_path)


# names of classes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "liver\nspleen\n",
        "background\nliver\nspleen\n",
        "BG\nliver\nspleen\n",
        "# organs\nliver\nspleen\n",
        "name\nliver\nspleen\n",
        "__ignore__\n_background_\nliver\nspleen\n",
        "0: background\n1: liver\n2: spleen\n",
        "2,spleen\n1,liver\n",
        "1 liver\n2 spleen\n",
    ],
)
def test_lines_of_classes_txt(tmp_path, text):
    path = tmp_path / "classes.txt"
    path.write_text(text, encoding="utf-8")
    assert read_class_names(path) == ["liver", "spleen"]


@pytest.mark.parametrize("text", ["1 liver\n3 spleen\n", "1 liver\n1 spleen\n"])
def test_numbers_of_classes_txt_that_leave_one_out_are_refused(tmp_path, text):
    path = tmp_path / "classes.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="number its classes 1, 2, 3"):
        read_class_names(path)


def test_a_class_of_label_0_is_refused(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("0: polyp\n1: instrument\n", encoding="utf-8")
    with pytest.raises(InputError, match="label 0 is the background"):
        read_class_names(path)


def test_names_of_classes_that_differ_in_case_are_one(tmp_path):
    for part, folder in (("train", "Liver"), ("test", "liver")):
        binary_folder(tmp_path / part, [f"{part}{k}" for k in range(4)], masks=f"masks/{folder}")
    assert find_classes(tmp_path).names == ("Liver",)


# tables ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heading", "wanted"), [("image,x,y", (2, 1)), ("stem,row,column", (1, 2)), ("", (1, 2))]
)
def test_the_heading_of_spacing_csv_tells_which_side_comes_first(tmp_path, heading, wanted):
    binary_folder(tmp_path, STEMS)
    rows = [heading] * bool(heading) + [f"{stem},1,2" for stem in STEMS]
    (tmp_path / "spacing.csv").write_text("\n".join(rows), encoding="utf-8")
    assert {x.spacing for x in find_samples(ONE, tmp_path).samples} == {wanted}


def test_groups_csv_tells_the_patients_of_volumes(tmp_path):
    folder = decathlon_folder(tmp_path)
    content = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    task = make_task(folder)
    cases = [x.name for x in find_samples(task, folder).samples]
    assert len(cases) == len(content["training"]) > 1
    rows = [f"{case}.nii.gz,p{k // 2}" for k, case in enumerate(cases)]
    (folder / "groups.csv").write_text("\n".join(["stem,group", *rows]), encoding="utf-8")
    listing = find_samples(task, folder)
    assert [x.group for x in listing.samples] == [f"p{k // 2}" for k in range(len(cases))]
    assert listing.patients


@pytest.mark.parametrize("word", ["aug", "rot", "zoom"])
def test_numbers_of_augmentation_are_no_patients(tmp_path, word):
    binary_folder(tmp_path, [f"{word}{k}_case{j}" for k in range(3) for j in range(4)])
    assert not find_samples(ONE, tmp_path).patients


# pictures --------------------------------------------------------------------------------------


def test_images_that_exif_turns_are_counted(tmp_path):
    binary_folder(tmp_path, STEMS, suffix="jpg")
    exif = Image.Exif()
    exif[274] = 3
    for stem in STEMS[:2]:
        Image.new("RGB", (40, 30)).save(tmp_path / f"images/{stem}.jpg", exif=exif)
    notes = check(ONE, tmp_path).notes
    assert any(line.startswith("2 images turned upright, as EXIF says") for line in notes)
