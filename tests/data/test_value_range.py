"""Pictures of more than 8 bits: one range of grey levels for a data set, kept with the model."""

import json
from dataclasses import asdict, replace

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from data.files import disc, picture, save
from data.test_dicom import write_dicom

from transfuse_keras.data.readers import read_image
from transfuse_keras.data.splits import find_splits
from transfuse_keras.data.value_range import find_value_ranges, fix_ranges
from transfuse_keras.errors import InputError
from transfuse_keras.tasks import Task
from transfuse_keras.tasks.task import as_task

TASK = Task("t", ("lesion",), channels=1)
GREY = picture(3)[..., 0]


def folder_of(tmp_path, images):
    for number, image in enumerate(images):
        image[0, 1] += np.uint8(number)  # files that are the same count as one patient
        save(tmp_path / "images" / f"p{number}.png", image)
        save(tmp_path / "masks" / f"p{number}.png", disc())
    return tmp_path


def test_colours_of_12_bits_floats_and_white_as_0(tmp_path):
    colours = picture(3)
    cv2.imwrite(str(tmp_path / "a.png"), colours[..., ::-1].astype("uint16") * 16)
    assert np.abs(read_image(tmp_path / "a.png").astype(int) - colours).max() <= 1
    tifffile.imwrite(tmp_path / "b.tif", GREY.astype("float32") / 255, photometric="minisblack")
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif", 1)[..., 0], GREY)
    for values in (GREY, GREY * np.uint16(257)):
        tifffile.imwrite(tmp_path / "c.tif", values, photometric="miniswhite")
        np.testing.assert_array_equal(read_image(tmp_path / "c.tif", 1)[..., 0], 255 - GREY)
    planes = colours.transpose(2, 0, 1) * np.uint16(257)
    options = {"photometric": "rgb", "planarconfig": "separate"}
    tifffile.imwrite(tmp_path / "e.tif", planes, **options)
    with pytest.raises(InputError, match="e.tif: .*planes"):
        read_image(tmp_path / "e.tif")
    encoded = imagecodecs.jpeg2k_encode(colours * np.uint16(257), level=0)
    (tmp_path / "f.jp2").write_bytes(encoded)
    with pytest.raises(InputError, match="f.jp2: .*8 bits"):
        read_image(tmp_path / "f.jp2")
    tifffile.imwrite(tmp_path / "d.tif", np.stack([GREY, GREY]), photometric="minisblack")
    with pytest.raises(InputError, match="d.tif: holds 2 pages"):
        read_image(tmp_path / "d.tif")


def test_images_of_one_scanner_keep_their_brightness(tmp_path):
    """The largest pixel of an image, even a broken one, changes no other image."""
    images = [GREY * np.uint16(16) // (1 + i % 4) for i in range(10)]
    images[4][0, 0] = 65535
    task, splits = fix_ranges(TASK, find_splits(TASK, folder_of(tmp_path, images)))
    assert task.value_range == (0, 4095)
    for sample in (sample for samples in splits.values() for sample in samples):
        stored = images[int(sample.name[1:])]
        wanted = np.clip(np.round(stored / 4095 * 255), 0, 255)
        np.testing.assert_array_equal(sample.read()[0][..., 0], wanted)
    assert as_task(json.loads(json.dumps(asdict(task)))) == task  # as config.json keeps it
    again = find_splits(task, tmp_path)["train"][0]
    np.testing.assert_array_equal(again.read()[0], splits["train"][0].read()[0])


def test_values_that_fill_no_range_of_bits_are_read_by_percentiles(tmp_path):
    images = [30000 + GREY * np.uint16(8) for _ in range(4)]
    samples = find_splits(replace(TASK, patient=".+"), folder_of(tmp_path, images))["train"]
    wanted = np.percentile(images, (0.5, 99.5))
    assert find_value_ranges(TASK, samples)["value_range"] == pytest.approx(tuple(wanted), abs=8)


def test_floats_that_fill_0_to_1_are_read_as_that(tmp_path):
    for number in range(4):
        path = tmp_path / "images" / f"p{number}.tif"
        path.parent.mkdir(exist_ok=True)
        tifffile.imwrite(path, np.float32(GREY / 255 * (0.7 + number / 10)))
        save(tmp_path / "masks" / f"p{number}.png", disc())
    task, splits = fix_ranges(TASK, find_splits(replace(TASK, patient=".+"), tmp_path))
    assert task.value_range == (0, 1)
    (sample,) = [x for of in splits.values() for x in of if x.name == "p1"]
    np.testing.assert_allclose(sample.read()[0][..., 0], GREY * 0.8, atol=0.501)


def test_dicom_images_without_a_window_keep_their_brightness(tmp_path):
    """Those with a window are shown by it, and pictures of 16 bits have a range of their own."""
    stored = [GREY * np.uint16(16) // (1 + i % 3) for i in range(9)]
    windows = [{}] * 8 + [{"WindowCenter": 500, "WindowWidth": 1000}]
    for i, (values, window) in enumerate(zip(stored, windows, strict=True)):
        rescaled = {"RescaleSlope": 1, "RescaleIntercept": -1024, "PatientID": f"p{i}"}
        write_dicom(tmp_path / "images" / f"p{i}.dcm", values, **window, **rescaled)
        save(tmp_path / "masks" / f"p{i}.png", disc())
    task, splits = fix_ranges(TASK, find_splits(TASK, tmp_path))
    low, high = task.dicom_range
    trained = [stored[int(x.name[1:])] for x in splits["train"] if x.name != "p8"]
    wanted = np.percentile(trained, (0.5, 99.5)) - 1024.0
    assert (low, high) == pytest.approx(tuple(wanted), abs=20) and task.value_range is None
    for sample in (sample for samples in splits.values() for sample in samples):
        bounds = (0, 1000) if sample.name == "p8" else (low, high)
        shown = (stored[int(sample.name[1:])] - 1024.0 - bounds[0]) / (bounds[1] - bounds[0])
        found = sample.read()[0][..., 0]
        np.testing.assert_allclose(found, 255 * np.clip(shown, 0, 1), atol=1)
    assert as_task(json.loads(json.dumps(asdict(task)))) == task  # as config.json keeps it


def test_8_bits_have_no_range(tmp_path):
    splits = find_splits(TASK, folder_of(tmp_path, [GREY.copy() for _ in range(5)]))
    assert fix_ranges(TASK, splits) == (TASK, splits)
