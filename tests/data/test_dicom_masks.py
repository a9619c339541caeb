"""DICOM SEG, written by highdicom and dcmqi, as masks of a data set."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from data.files import dicom_image, series_folder
from highdicom import UID, AlgorithmIdentificationSequence
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.sr.codedict import codes

from transfuse_keras.data.check import check
from transfuse_keras.data.dicom_series import sort_slices
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.survey import survey
from transfuse_keras.data.value_range import fix_ranges
from transfuse_keras.inference.dicom_header import complete
from transfuse_keras.inference.dicom_seg import save_segmentation
from transfuse_keras.tasks import Augmentation, Task, hip, polyp, prostate

KNEE = Task(
    "knee",
    ("femur", "left tibia"),
    channels=1,
    codes={"femur": ("71341001", "SCT", "Femur")},
)
SCAN = replace(prostate, channels=1)


def write_seg(path, images, values, labels=("Femur bone", "Left-Tibia"), kind="BINARY", **options):
    """A SEG by highdicom of (F, H, W, M); its terms are those of femur and tibia."""
    algorithm = AlgorithmIdentificationSequence("a", codes.DCM.ArtificialIntelligence, "1")
    terms = (codes.SCT.Femur, codes.SCT.Tibia, codes.SCT.Patella)
    described = [
        SegmentDescription(i, label, codes.SCT.Tissue, term, "AUTOMATIC", algorithm)
        for i, (label, term) in enumerate(zip(labels, terms, strict=False), 1)
    ]
    made = Segmentation(
        *(images, values, kind, described, UID(), 5, UID(), 1, "m", "n", "1", "s"), **options
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path)
    return made


def blocks(shape, count=2):
    """0/1 (*shape, count): overlapping blocks."""
    values = np.zeros((*shape, count), "uint8")
    for k in range(count):
        values[..., 3 + 2 * k : 12, 5 : 15 + 3 * k, k] = 1
    return values


@pytest.fixture
def knees(tmp_path):
    """A function that writes images p1.dcm ... of patients of their own, and returns them."""

    def write(count=3, shape=(20, 33)):
        rng = np.random.default_rng(0)
        return [
            dicom_image(
                tmp_path / "images" / f"p{i}.dcm",
                rng.integers(0, 256, shape, dtype="uint8"),
                PatientID=f"P{i}",
            )
            for i in range(1, count + 1)
        ]

    return write


def test_segments_become_classes_by_label_or_code(knees, tmp_path):
    wanted = {}
    for i, image in enumerate(knees()):
        wanted[f"images/p{i + 1}"] = blocks((20, 33)) * (i != 1)
        values = np.concatenate([wanted[f"images/p{i + 1}"], np.ones((20, 33, 1), "uint8")], -1)
        labels = ("Femur bone", "Left-Tibia", "Patella")
        write_seg(tmp_path / "seg" / f"{9 - i}.x", [image], values[None], labels)
    listing = find_samples(KNEE, tmp_path)
    assert not listing.errors and "Patella" in " ".join(listing.notes)
    assert {sample.group for sample in listing.samples} == {"P1", "P2", "P3"}
    for sample in listing.samples:
        image, masks = sample.read()
        assert image.shape == (20, 33, 1) and image.dtype == np.uint8
        np.testing.assert_array_equal(masks, wanted[sample.name])
    report = check(replace(KNEE, augmentation=Augmentation()), tmp_path)
    assert "DICOM SEG of 0 and 1" in " ".join(report.notes)
    assert not report.errors and any("empty" in line for line in report.warnings)


def test_fractions_are_cut_at_half_of_the_largest(knees, tmp_path):
    (image,) = knees(1)
    values = np.random.default_rng(1).random((1, 20, 33, 2), dtype="float32")
    values[0, 0, :2, 0] = 0.49, 0.5  # of 100: 49 and 50
    write_seg(tmp_path / "a.dcm", [image], values, kind="FRACTIONAL", max_fractional_value=100)
    (sample,) = find_samples(KNEE, tmp_path).samples
    _, masks = sample.read()
    np.testing.assert_array_equal(masks, np.around(values[0] * 100) >= 50)
    assert masks[0, :2, 0].tolist() == [0, 1]
    assert "one half" in " ".join(check(KNEE, tmp_path).notes)


def test_a_seg_of_one_class_each_and_parts_of_a_class(knees, tmp_path):
    (image,) = knees(1)
    values = blocks((1, 20, 33))
    write_seg(tmp_path / "a.dcm", [image], values[..., :1], ("femur",))
    halves = np.concatenate([np.tril(values[0, ..., 1]), np.triu(values[0, ..., 1])])
    halves = halves.reshape(1, 2, 20, 33).transpose(0, 2, 3, 1)
    write_seg(tmp_path / "b.dcm", [image], halves, ("left tibia", "LEFT_TIBIA"))
    (sample,) = find_samples(KNEE, tmp_path).samples
    np.testing.assert_array_equal(sample.read()[1], values[0])


def test_slices_are_matched_by_reference_and_not_by_order(tmp_path):
    series_folder(tmp_path / "scan")
    images = [complete(header, SCAN) for _, header in sort_slices(tmp_path / "scan")[0]]
    values = np.zeros((6, 40, 32, 2), "uint8")
    for k in range(1, 6):  # the lowest slice is empty, so highdicom leaves its frames out
        values[k, 2 * k : 20 + k, 5:20, k % 2] = 1
    shuffled = [3, 1, 5, 0, 4, 2]
    write_seg(
        tmp_path / "seg" / "s.dcm", [images[k] for k in shuffled], values[shuffled], ("PZ", "TZ")
    )
    listing = find_samples(SCAN, tmp_path)
    assert not listing.errors and "1 slices" in " ".join(listing.notes)
    (sample,) = listing.samples
    image, masks = sample.read()
    assert image.shape == (6, 40, 32, 1) and sample.spacing == pytest.approx((3.0, 0.9, 0.7))
    # seen from below, x runs to the right of the patient and y to the front: both are turned
    np.testing.assert_array_equal(masks, values[:, ::-1, ::-1])
    assert np.corrcoef(image.ravel(), (masks.max(-1) > 0).ravel())[0, 1] > 0.3


@pytest.mark.parametrize("flips", [(False, False), (True, False), (True, True)])
def test_a_seg_that_dcmqi_flips_is_read_as_it_lies_in_space(flips, tmp_path):
    series_folder(tmp_path / "scan")
    needed = dict.fromkeys(("PatientName", "StudyDate", "StudyTime", "StudyID"), "")
    for path in (tmp_path / "scan").iterdir():
        image = pydicom.dcmread(path)
        for name, value in needed.items():
            setattr(image, name, value)
        image.save_as(path)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "scan")))
    mask = SimpleITK.Flip(
        SimpleITK.Cast(reader.Execute() > 100, SimpleITK.sitkUInt8), (*flips, False)
    )
    SimpleITK.WriteImage(mask, str(tmp_path / "mask.nrrd"))
    term = {"CodingSchemeDesignator": "SCT", "CodeValue": "85756007", "CodeMeaning": "Tissue"}
    segment = {"labelID": 1, "SegmentLabel": "dense", "SegmentAlgorithmType": "MANUAL"}
    segment |= {f"SegmentedProperty{x}CodeSequence": term for x in ("Category", "Type")}
    (tmp_path / "meta.json").write_text(json.dumps({"segmentAttributes": [[segment]]}))
    command = [Path(sys.executable).with_name("itkimage2segimage"), "--inputDICOMDirectory", "scan"]
    command += ["--inputImageList", "mask.nrrd", "--inputMetadata", "meta.json"]
    subprocess.run([*command, "--outputDICOM", "seg.dcm"], cwd=tmp_path, check=True)
    (sample,) = find_samples(replace(SCAN, classes=("dense",)), tmp_path).samples
    image, masks = sample.read()
    np.testing.assert_array_equal(masks[..., 0], image[..., 0] > 1)


@pytest.mark.parametrize(
    ("orientation", "position", "problem"),
    [
        ([1, 0, 0, 0, 1, 0], [10, 20, 0], ""),
        ([0, 1, 0, 1, 0, 0], [10, 20, 0], ""),  # rows and columns exchanged
        ([0, -1, 0, 1, 0, 0], [10, 35, 0], ""),
        ([1, 0, 0, 0, 1, 0], [11.5, 20, 0], "lies on other pixels"),
        ([1, 0, 0, 0, 0.8, 0.6], [10, 20, 0], "lies on other pixels"),
        ([1, 0, 0, 0, 0, 1], [10, 20, 0], "lies across"),
    ],
)
def test_a_frame_is_turned_onto_its_image_or_refused(orientation, position, problem, tmp_path):
    place = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [10, 20, 0]}
    place |= {"PixelSpacing": [1.5, 1.5], "SliceThickness": 1, "FrameOfReferenceUID": UID()}
    image = dicom_image(tmp_path / "a.dcm", np.zeros((11, 11), "uint8"), **place)
    values = np.arange(121).reshape(1, 11, 11, 1) % 7 == 0
    seg = write_seg(tmp_path / "s.dcm", [image], values, ("femur",))
    (shared,), (own,) = seg.SharedFunctionalGroupsSequence, seg.PerFrameFunctionalGroupsSequence
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = orientation
    own.PlanePositionSequence[0].ImagePositionPatient = position
    seg.save_as(tmp_path / "s.dcm")
    listing = find_samples(replace(KNEE, classes=("femur",)), tmp_path)
    if problem:
        assert problem in listing.errors[0] and "s.dcm" in listing.errors[0]
        return
    (sample,) = listing.samples
    # what SimpleITK finds at each place in space
    stored = SimpleITK.GetImageFromArray(values[..., 0].astype("uint8"))
    stored.SetSpacing((1.5, 1.5, 1))
    axes = np.reshape(orientation, (2, 3)).astype("float64")
    stored.SetDirection(np.stack([*axes, np.cross(*axes)], 1).ravel())
    stored.SetOrigin(position)
    grid = SimpleITK.Image((11, 11, 1), SimpleITK.sitkUInt8)
    grid.SetSpacing((1.5, 1.5, 1))
    grid.SetOrigin((10, 20, 0))
    wanted = SimpleITK.Resample(stored, grid, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor)
    np.testing.assert_array_equal(sample.read()[1][..., 0], SimpleITK.GetArrayFromImage(wanted)[0])


def test_frames_of_a_cine(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (4, 16, 24, 3), dtype="uint8")
    image = dicom_image(tmp_path / "us.dcm", frames)
    masks = np.zeros((4, 16, 24, 1), "uint8")
    for i in range(4):
        masks[i, i : 5 + i, 2 : 9 + i] = 1
    save_segmentation(tmp_path / "s.dcm", [image], masks, polyp, "0 0")
    samples = find_samples(polyp, tmp_path).samples
    assert [sample.name for sample in samples] == [f"us_{i:04}" for i in range(1, 5)]
    for i, sample in enumerate(samples):
        image, found = sample.read()
        np.testing.assert_array_equal(found, masks[i])
        np.testing.assert_array_equal(image, frames[i])


def test_images_without_a_window_are_read_with_one_range(tmp_path):
    stored = [np.arange(40, 140, dtype="uint8").reshape(10, 10) // k for k in (1, 2)]
    for i, values in enumerate(stored):
        image = dicom_image(tmp_path / f"p{i}.dcm", values, WindowCenter=None, WindowWidth=None)
        write_seg(tmp_path / f"s{i}.dcm", [image], blocks((1, 10, 10)))
    task, splits = fix_ranges(KNEE, {"train": find_samples(KNEE, tmp_path).samples})
    low, high = task.dicom_range
    assert (low, high) == pytest.approx(tuple(np.percentile(stored, (0.5, 99.5))), abs=1)
    again = find_samples(task, tmp_path).samples
    for sample, same in zip(splits["train"], again, strict=True):
        image, masks = sample.read()
        shown = 255 * np.clip((stored[int(sample.name[1:])] - low) / (high - low), 0, 1)
        np.testing.assert_allclose(image[..., 0], shown, atol=1)
        np.testing.assert_array_equal(masks, blocks((10, 10)))
        # as it is called where a picture of the data set needs a range, too
        np.testing.assert_array_equal(same.read(value_range=(0, 4095))[0], image)


def remove_references(path):
    seg = pydicom.dcmread(path)
    for group in seg.PerFrameFunctionalGroupsSequence:
        del group.DerivationImageSequence
    seg.save_as(path)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder, seg: (folder / "images" / "p1.dcm").unlink(), ("a.dcm", "not there")),
        (lambda folder, seg: seg.unlink(), ("p1.dcm", "no DICOM SEG")),
        (lambda folder, seg: remove_references(seg), ("a.dcm", "does not name")),
        (
            lambda folder, seg: (folder / "b.dcm").write_bytes(seg.read_bytes()),
            ("b.dcm", "take one out"),
        ),
        (lambda folder, seg: seg.write_bytes(seg.read_bytes()[:900]), ("a.dcm", "SEG")),
    ],
)
def test_what_does_not_match_is_refused(spoil, words, knees, tmp_path):
    first, second = knees(2)
    write_seg(tmp_path / "a.dcm", [first], blocks((1, 20, 33)))
    write_seg(tmp_path / "c.dcm", [second], blocks((1, 20, 33)))
    assert not find_samples(KNEE, tmp_path).errors
    spoil(tmp_path, tmp_path / "a.dcm")
    errors = find_samples(KNEE, tmp_path).errors
    assert any(all(word in line for word in words) for line in errors), errors


def test_an_unknown_segment_and_another_size_are_refused(knees, tmp_path):
    first, second = knees(2)
    write_seg(tmp_path / "a.dcm", [first], blocks((1, 20, 33)), ("femur", "patella"))
    seg = write_seg(tmp_path / "c.dcm", [second], blocks((1, 20, 33)))
    seg.Rows, seg.Columns = 33, 20
    seg.save_as(tmp_path / "c.dcm")
    first, second = find_samples(KNEE, tmp_path).errors
    assert "a.dcm" in first and "left tibia" in first
    assert "c.dcm" in second and "20x33" in second
    # two sides with one term: which is meant is not known
    write_seg(
        tmp_path / "a.dcm", [pydicom.dcmread(tmp_path / "images" / "p1.dcm")], blocks((1, 20, 33))
    )
    both = replace(hip, codes={name: KNEE.codes["femur"] for name in hip.classes})
    assert any("may be" in line for line in find_samples(both, tmp_path).errors)


def test_without_a_task_the_segments_are_the_classes(knees, tmp_path):
    for i, image in enumerate(knees(6)):
        write_seg(tmp_path / "seg" / f"{i}.dcm", [image], blocks((1, 20, 33)))
    facts = survey(tmp_path)
    assert facts.classes == ("Femur bone", "Left-Tibia") and facts.overlap and facts.field is None
    assert facts.patients == 6 and sum(facts.counts) == 6


def test_without_a_task_a_seg_of_a_series_makes_a_task_on_volumes(tmp_path):
    for number in range(4):
        folder = tmp_path / f"{number}"
        series_folder(folder / "scan")
        images = [complete(header, SCAN) for _, header in sort_slices(folder / "scan")[0]]
        values = np.zeros((6, 40, 32, 1), "uint8")
        values[1:5, 10:25, 5:20] = 1
        write_seg(folder / "seg.dcm", images, values, ("liver",))
    facts = survey(tmp_path)
    assert (facts.classes, facts.channels, sum(facts.counts)) == (("liver",), 1, 4)
    assert facts.field is not None and facts.spacing == pytest.approx((0.9, 0.7))
