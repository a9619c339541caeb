"""What the classes of a folder are found to be, against what was written into it."""

import json

import cv2
import numpy as np
import pytest
from data.files import SIZE, decathlon_folder, disc, hip_folder, picture, rows_of_labels, save

from transfuse_keras.data.classes import Classes, find_classes
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.errors import InputError
from transfuse_keras.tasks import Task


def folder_of(folder, *masks, suffix="png"):
    for number, mask in enumerate(masks):
        save(folder / "images" / f"{number}.png", picture(number))
        save(folder / "masks" / f"{number}.{suffix}", mask)
    return folder


@pytest.mark.parametrize(
    ("masks", "names", "ignore"),
    [
        ([rows_of_labels(2), rows_of_labels(3)], ("class_1", "class_2", "class_3"), None),
        ([disc(), disc(radius=3)], ("foreground",), None),
        ([disc(1)], ("foreground",), None),
        ([cv2.GaussianBlur(disc(radius=12), (3, 3), 1)], ("foreground",), None),
        ([np.maximum(disc(2), disc(255, 4)), disc(1)], ("class_1", "class_2"), 255),
        ([disc() * np.uint16(257)], ("foreground",), None),
    ],
)
def test_values_tell_the_classes(tmp_path, masks, names, ignore):
    found = find_classes(folder_of(tmp_path, *masks))
    assert (found.names, found.ignore, found.channels) == (names, ignore, None)


def test_a_mask_as_jpeg_is_one_class(tmp_path):
    assert find_classes(folder_of(tmp_path, disc(), suffix="jpg")).names == ("foreground",)


@pytest.mark.parametrize("values", [(85, 170, 255), (50, 100), (0, 0)])
def test_greys_that_are_no_labels_are_refused_by_their_values(tmp_path, values):
    mask = np.zeros(SIZE, "uint8")
    for row, value in enumerate(values):
        mask[10 * row : 10 * row + 8] = value
    with pytest.raises(InputError) as error:
        find_classes(folder_of(tmp_path, mask))
    assert str(tmp_path / "masks") in str(error.value)
    assert all(str(value) in str(error.value) for value in values if value)
    assert "empty" in str(error.value) or any(values)


def test_a_list_of_names_names_the_labels(tmp_path):
    folder = folder_of(tmp_path, rows_of_labels(2))
    (folder / "classes.txt").write_text("background\ntibia\nfibula\n")
    assert find_classes(folder).names == ("tibia", "fibula")
    (folder / "classes.txt").write_text("tibia\n")
    with pytest.raises(InputError, match="classes.txt: .* 2 classes"):
        find_classes(folder)


def test_folders_and_endings_of_masks_name_the_classes(tmp_path):
    for number in range(2):
        for name in ("left_lung", "heart"):
            save(tmp_path / "a" / "images" / f"x_{number}.png", picture(number))
            save(tmp_path / "a" / "masks" / name / f"x_{number}.png", disc())
            save(tmp_path / "b" / "images" / f"x_{number}.png", picture(number))
            save(tmp_path / "b" / "masks" / f"x_{number}_{name}.png", disc())
    assert find_classes(tmp_path / "a").names == ("heart", "left_lung")
    assert find_classes(tmp_path / "b").names == ("heart", "left_lung")


def test_a_lesion_beside_another_structure_is_a_class(tmp_path):
    for number in range(2):
        save(tmp_path / "images" / f"x_{number}.png", picture(number))
        for name, mask in (("lesion", disc()), ("liver", disc() * 0)):
            save(tmp_path / "masks" / f"x_{number}_{name}.png", mask)
    names = find_classes(tmp_path).names
    assert names == ("lesion", "liver")
    samples = find_samples(Task("t", names), tmp_path).samples
    assert len(samples) == 2 and samples[0].read()[1].any(axis=(0, 1)).tolist() == [True, False]
    for file in (tmp_path / "masks").glob("*liver*"):
        file.unlink()
    assert find_classes(tmp_path).names == ("foreground",)


def test_a_description_of_volumes_names_classes_and_channels(tmp_path):
    found = find_classes(decathlon_folder(tmp_path, names=("Front part", "Back")))
    assert found == Classes(("front_part", "back"), "labels of dataset.json", channels=2)


def test_annotations_name_the_classes(tmp_path):
    save(tmp_path / "a.png", picture(1))
    corner = [[1, 1], [9, 1], [9, 9]]
    shapes = [{"label": x, "shape_type": "polygon", "points": corner} for x in ("liver", "spleen")]
    content = {"version": "5", "imagePath": "a.png", "shapes": shapes}
    content |= {"imageHeight": SIZE[0], "imageWidth": SIZE[1]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert find_classes(tmp_path) == Classes(("liver", "spleen"), "the names of the annotations")


def test_colours_are_classes(tmp_path):
    mask = np.zeros((*SIZE, 3), "uint8")
    mask[3:9, :, 0], mask[12:20, :, 1] = 255, 128
    assert find_classes(folder_of(tmp_path, mask)).names == ("colour_008000", "colour_ff0000")


def test_splits_and_patients_in_folders_are_no_classes(tmp_path):
    for part in ("train", "test"):
        save(tmp_path / "images" / part / "1.png", picture(1))
        save(tmp_path / "masks" / part / "1.png", rows_of_labels(2))
    assert find_classes(tmp_path).names == ("class_1", "class_2")
    assert find_classes(hip_folder(tmp_path / "hip")).names == ("class_1", "class_2", "class_3")


def test_a_folder_without_a_known_layout_has_no_classes(tmp_path):
    save(tmp_path / "photo.png", picture(1))
    assert find_classes(tmp_path) is None
