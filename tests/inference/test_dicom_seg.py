"""DICOM SEG of radiographs, series, cines, read back by highdicom, SimpleITK, dcmqi and dcmjs."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from data.files import dicom_image, enhanced_image, series_folder
from npm import read_packed
from pydicom import uid
from pydicom.sr.codedict import codes

from transfuse_keras import __version__
from transfuse_keras.data import dicom
from transfuse_keras.data.dicom_series import sort_slices
from transfuse_keras.errors import InputError
from transfuse_keras.files import read_table, write_json
from transfuse_keras.inference import predict_files as module
from transfuse_keras.inference.dicom_seg import save_segmentation
from transfuse_keras.inference.dicom_sr import save_report
from transfuse_keras.inference.predict_files import predict_files
from transfuse_keras.inference.predictor import Predictor
from transfuse_keras.tasks import hip, polyp, prostate

BIN = Path(sys.executable).parent
SCAN = replace(prostate, name="scan", channels=1, classes=("bright", "dense"), exclusive=False)


DCMJS = "dcmjs@0.51.1"
READ = """
const {data} = require("./dcmjs.js"), fs = require("fs");
const bytes = Uint8Array.from(fs.readFileSync(process.argv[2])).buffer;
const seg = data.DicomMetaDictionary.naturalizeDataset(data.DicomMessage.readFile(bytes).dict);
const list = (item) => [item].flat();
console.log(JSON.stringify({
  labels: list(seg.SegmentSequence).map((item) => item.SegmentLabel),
  segments: list(seg.PerFrameFunctionalGroupsSequence)
    .map((frame) => list(frame.SegmentIdentificationSequence)[0].ReferencedSegmentNumber),
  pixels: [...data.BitArray.unpack(list(seg.PixelData)[0])],
}));"""


def thirds(images):
    """A map of each RGB channel."""
    return images.astype("float32") / 255


def levels(images):
    """Of z-scored slices: where they are above their mean, and how far."""
    return np.concatenate([1 / (1 + np.exp(1 - images)), 1 / (1 + np.exp(1 - images / 2))], -1)


@pytest.fixture
def run_folder(tmp_path, monkeypatch):
    """A function from a task and what a model gives to the run folder of a model that gives it."""

    def make(task, size, run):
        folder = tmp_path / "runs" / task.name
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "config.json", {"schema": 1, "task": asdict(task)})
        predictor = Predictor(size, task.channels, len(task.classes), run)
        monkeypatch.setattr(module, "load_predictor", lambda *_: predictor)
        return folder

    return make


def colours(count):
    """uint8 (count, 24, 40, 3): a coloured block that wanders; the last frame is black."""
    frames = np.zeros((count, 24, 40, 3), "uint8")
    for i in range(count - 1):
        frames[i, 4 + i : 15 + i, 6:20, 0], frames[i, 2:9, 10 + i : 30, 1] = 255, 180
        frames[i, ..., 2] = 8 * i
    return frames


def validate(path):
    """What dciodvfy finds wrong with a file."""
    found = subprocess.run([BIN / "dciodvfy", "-new", path], capture_output=True, text=True)
    return [line for line in found.stderr.splitlines() if line.startswith("Error")]


def convert(path, folder):
    """Have dcmqi write a SEG as volumes s-1.nrrd, s-2.nrrd ..."""
    command = [BIN / "segimage2itkimage", "--inputDICOM", path, "--outputDirectory", folder]
    return subprocess.run([*command, "--prefix", "s"], capture_output=True, text=True)


def read_stacked(path, count, frames):
    """Pixels (F, H, W, M) as SimpleITK reads them: the frames of each segment lie in the order
    that the file itself gives."""
    values = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    header = pydicom.dcmread(path, stop_before_pixels=True)
    shared = header.SharedFunctionalGroupsSequence[0].get("SegmentIdentificationSequence")
    stacked = np.zeros((frames, *values.shape[1:], count), values.dtype)
    seen = [0] * count
    for plane, group in zip(values, header.PerFrameFunctionalGroupsSequence, strict=True):
        (named,) = shared or group.SegmentIdentificationSequence
        k = named.ReferencedSegmentNumber - 1
        stacked[seen[k], ..., k] = plane
        seen[k] += 1
    return stacked


def read_by_dcmjs(path, folder):
    """(labels, pixels (F, H, W, M) of 0 or 255) of a SEG as OHIF's dcmjs reads it."""
    (folder / "dcmjs.js").write_text(read_packed(DCMJS, "build/dcmjs.js"), encoding="utf-8")
    (folder / "read.cjs").write_text(READ)
    told = json.loads(subprocess.check_output(["node", folder / "read.cjs", path]))
    header = pydicom.dcmread(path, stop_before_pixels=True)
    shape = (len(told["segments"]), header.Rows, header.Columns)
    planes = np.reshape(told["pixels"][: np.prod(shape)], shape)
    segments = range(1, len(told["labels"]) + 1)
    stacked = [planes[np.array(told["segments"]) == k] for k in segments]
    return told["labels"], np.stack(stacked, axis=-1)


def test_a_radiograph_gets_a_seg_of_its_patient_and_study(run_folder, tmp_path):
    image = dicom_image(tmp_path / "in" / "a.dcm", colours(2)[0, ..., 0])
    out = tmp_path / "out"
    assert predict_files(run_folder(hip, (16, 32), thirds), [tmp_path / "in"], out) == 0
    seg = highdicom.seg.segread(out / "a_seg.dcm")
    assert not validate(out / "a_seg.dcm")
    for name in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyInstanceUID"):
        assert seg[name] == image[name]
    assert seg.SeriesInstanceUID != image.SeriesInstanceUID
    found = seg.get_pixels_by_source_instance([image.SOPInstanceUID])[0]
    for i, name in enumerate(hip.classes):
        written = cv2.imread(str(out / f"a_{name}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(255 * found[..., i], written)
    assert found.any()
    np.testing.assert_array_equal(read_stacked(out / "a_seg.dcm", 3, 1)[0], 255 * found)
    assert "Plane Orientation" in convert(out / "a_seg.dcm", out).stderr  # it has none
    left = seg.get_segment_description(2)
    assert left.segment_label == "left_femur"
    assert left.segmented_property_type == codes.SCT.Femur
    (side,) = left.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence
    assert side.CodeValue == codes.SCT.Left.value
    assert left.algorithm_identification.version == __version__
    assert left.algorithm_identification.name == "transfuse-keras hip"
    assert "0.5 0.5 0.5" in left.algorithm_identification.parameters["settings"]


@pytest.mark.parametrize("kind", ["binary", "fractional"])
def test_a_cine_gets_one_seg_whose_frames_name_theirs(kind, run_folder, tmp_path):
    image = dicom_image(tmp_path / "in" / "a.dcm", colours(10))
    out, run = tmp_path / "out", run_folder(hip, (16, 32), thirds)
    assert predict_files(run, [tmp_path / "in"], out, overlays=False, seg=kind) == 0
    path = out / "a_seg.dcm"
    assert not validate(path) and len(list(out.iterdir())) == 3 * 10 + 1
    seg, numbers = highdicom.seg.segread(path), range(1, 11)
    options = {"rescale_fractional": True} if kind == "fractional" else {}
    found = seg.get_pixels_by_source_frame(image.SOPInstanceUID, list(numbers), **options)
    for i, name in enumerate(hip.classes):
        for number in numbers:
            mask = cv2.imread(str(out / f"a_{number:04}_{name}.png"), cv2.IMREAD_UNCHANGED)
            plane = found[number - 1, ..., i]
            # a probability of 1/2 and its rounding lie on both sides of a half
            known = np.abs(plane - 0.5) > 1 / 255 if kind == "fractional" else plane >= 0
            np.testing.assert_array_equal(plane[known] >= 0.5, mask[known] > 0)
    assert "Plane Orientation" in convert(path, out).stderr
    # a black frame is there too, as one in which nothing was found
    assert found[0].any() and not found[-1].any() and seg.NumberOfFrames == 30
    values = np.round(found * 255).astype("uint8")
    np.testing.assert_array_equal(read_stacked(path, 3, 10), values)


@pytest.mark.parametrize(
    "kind",
    [
        "OphthalmicPhotography8BitImageStorage",
        "XRayAngiographicImageStorage",
        "UltrasoundMultiFrameImageStorage",
        "MultiFrameGrayscaleByteSecondaryCaptureImageStorage",
        "VLPhotographicImageStorage",
    ],
)
@pytest.mark.parametrize("count", [{}, {"NumberOfFrames": 1}])
def test_a_single_frame_of_a_kind_that_may_have_several_gets_a_seg(kind, count, tmp_path):
    image = dicom_image(tmp_path / "a.dcm", np.zeros((8, 10), "uint8"), **count)
    image.SOPClassUID = getattr(uid, kind)
    masks = np.random.default_rng(0).integers(0, 2, (1, 8, 10, 3), dtype="uint8")
    seg = save_segmentation(tmp_path / "s.dcm", [image], masks, hip, "0 0")
    save_report(tmp_path / "r.dcm", [image], seg, masks, hip, "0 0")
    assert not validate(tmp_path / "s.dcm") and not validate(tmp_path / "r.dcm")
    seg = highdicom.seg.segread(tmp_path / "s.dcm")
    found = seg.get_pixels_by_source_instance([image.SOPInstanceUID])
    np.testing.assert_array_equal(found, masks)
    (source,) = (
        seg.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence
    )
    assert source.ReferencedSOPClassUID == image.SOPClassUID


STEPS = [[4, 5, 3 * k] for k in range(3)]


@pytest.mark.parametrize(
    ("places", "offsets"),
    [
        (STEPS, None),
        ([*STEPS[:2], STEPS[0]], None),  # two phases at one place
        ([None] * 3, None),
        (STEPS, [0, 3, 6]),  # a dose, with the place of the first frame alone
    ],
)
def test_every_frame_of_a_seg_lies_where_its_frame_does(places, offsets, tmp_path):
    image = enhanced_image(tmp_path / "a.dcm", np.zeros((3, 8, 10), "uint8"), places)
    if offsets:
        del image.SharedFunctionalGroupsSequence, image.PerFrameFunctionalGroupsSequence
        image.ImagePositionPatient, image.PixelSpacing = places[0], [0.5, 0.25]
        image.ImageOrientationPatient, image.SliceThickness = [1, 0, 0, 0, 1, 0], 3
        image.GridFrameOffsetVector = offsets
    masks = np.random.default_rng(0).integers(0, 2, (3, 8, 10, 3), dtype="uint8")
    seg = save_segmentation(tmp_path / "s.dcm", [image], masks, hip, "0 0")
    save_report(tmp_path / "r.dcm", [image], seg, masks, hip, "0 0")
    assert not validate(tmp_path / "s.dcm") and not validate(tmp_path / "r.dcm")
    seg = highdicom.seg.segread(tmp_path / "s.dcm")
    found = seg.get_pixels_by_source_frame(image.SOPInstanceUID, [1, 2, 3])
    np.testing.assert_array_equal(found, masks)
    for group in seg.PerFrameFunctionalGroupsSequence:
        (source,) = group.DerivationImageSequence[0].SourceImageSequence
        assert source.ReferencedSOPClassUID == image.SOPClassUID
        planes = group.get("PlanePositionSequence") or [pydicom.Dataset()]
        assert planes[0].get("ImagePositionPatient") == places[source.ReferencedFrameNumber - 1]


def test_a_series_gets_one_seg_whatever_its_files_are_called(run_folder, tmp_path):
    series_folder(tmp_path / "scan")
    shutil.copytree(tmp_path / "scan", tmp_path / "again" / "scan")
    files = sorted((tmp_path / "again" / "scan").iterdir())
    for k, path in enumerate(files):
        path.rename(path.with_name(f"{(5 * k + 3) % 6}.x"))
    run, found = run_folder(SCAN, (64, 64), levels), []
    for folder in (tmp_path / "scan", tmp_path / "again" / "scan"):
        out = folder.parent / "out"
        assert predict_files(run, [folder], out, overlays=False) == 0
        assert not validate(out / "scan_seg.dcm")
        found.append(highdicom.seg.segread(out / "scan_seg.dcm"))
    assert found[0].SOPInstanceUID == found[1].SOPInstanceUID
    assert found[0].PixelData == found[1].PixelData
    slices, _ = sort_slices(tmp_path / "scan")
    masks = found[0].get_pixels_by_source_instance([header.SOPInstanceUID for _, header in slices])
    written = np.asarray(nibabel.load(tmp_path / "out" / "scan.nii.gz").dataobj)
    np.testing.assert_array_equal(masks.transpose(2, 1, 0, 3), written)
    assert masks.any() and (masks[..., 0] != masks[..., 1]).any()
    ordered = [  # the frames lie in another order than the slices
        group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        for group in found[0].PerFrameFunctionalGroupsSequence[:6]
    ]
    stacked = read_stacked(tmp_path / "out" / "scan_seg.dcm", 2, 6)
    named = found[0].get_pixels_by_source_instance(ordered)
    np.testing.assert_array_equal(stacked, 255 * named)
    # one without a coded term has a private one, and a category that claims nothing
    segment = found[0].get_segment_description(1)
    assert segment.segmented_property_type.scheme_designator == "99TRANSFUSE"
    assert segment.segmented_property_category == codes.SCT.SpatialAndRelationalConcept
    # dcmqi, as 3D Slicer reads it: a volume a segment, in space where the images lie
    assert convert(tmp_path / "out" / "scan_seg.dcm", tmp_path).returncode == 0
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "scan")))
    image = reader.Execute()
    for i in range(2):
        segment = SimpleITK.ReadImage(str(tmp_path / f"s-{i + 1}.nrrd"))
        np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(segment) > 0, masks[..., i])
        np.testing.assert_allclose(segment.GetOrigin(), image.GetOrigin(), atol=1e-4)
        np.testing.assert_allclose(segment.GetSpacing(), image.GetSpacing(), atol=1e-4)
    described = json.loads((tmp_path / "s-meta.json").read_text())["segmentAttributes"]
    assert [item["SegmentLabel"] for (item,) in described] == list(SCAN.classes)


@pytest.mark.slow  # loads a package of npm
@pytest.mark.parametrize("count", [1, 10])
def test_what_ohif_is_built_on_reads_the_same_masks(count, run_folder, tmp_path):
    image = colours(2)[0, ..., 0] if count == 1 else colours(count)
    dicom_image(tmp_path / "a.dcm", image)
    predict_files(run_folder(hip, (16, 32), thirds), [tmp_path / "a.dcm"], tmp_path / "out")
    labels, found = read_by_dcmjs(tmp_path / "out" / "a_seg.dcm", tmp_path)
    assert labels == list(hip.classes) and found.shape == (count, 24, 40, 3) and found.any()
    for k, frame in enumerate(found, 1):
        stem = "a" if count == 1 else f"a_{k:04}"
        for i, name in enumerate(hip.classes):
            written = cv2.imread(str(tmp_path / "out" / f"{stem}_{name}.png"), -1)
            np.testing.assert_array_equal(frame[..., i], written)


def test_another_model_threshold_or_sure_class_is_another_object(run_folder, tmp_path):
    dicom_image(tmp_path / "a.dcm", colours(2)[0, ..., 0])
    run = run_folder(hip, (16, 32), thirds)
    (run / "model.keras").write_bytes(b"one")

    def predict(threshold=None):
        predict_files(run, [tmp_path / "a.dcm"], tmp_path / "out", threshold, overlays=False)
        return pydicom.dcmread(tmp_path / "out" / "a_seg.dcm").SOPInstanceUID

    first = predict()
    assert predict() == first and predict(0.4) != first
    write_json(run / "components.json", {"sure": ["pelvis"]})
    assert predict() != first
    write_json(run / "components.json", {"sure": []})
    assert predict() == first
    (run / "model.keras").write_bytes(b"another")
    assert predict() != first


@pytest.mark.parametrize(
    "other",
    [
        {"dicom_range": (0, 100)},
        {"classes": ("left", "right", "pelvis"), "mirror_pairs": ()},
        {"codes": {"pelvis": ("39607008", "SCT", "Lung")}},
        {"exclusive": True},
    ],
)
def test_other_classes_codes_and_ranges_are_other_objects(other, run_folder, tmp_path):
    dicom_image(tmp_path / "a.dcm", colours(2)[0, ..., 0])
    run = run_folder(hip, (16, 32), thirds)
    uids = []
    for task in (hip, replace(hip, **other)):
        predict_files(run, [tmp_path / "a.dcm"], tmp_path / "out", task=task, sr=True)
        for name in ("a_seg.dcm", "a_sr.dcm"):
            uids.append(pydicom.dcmread(tmp_path / "out" / name).SOPInstanceUID)
    assert len(set(uids)) == 4


def test_without_highdicom_the_masks_are_written_and_the_seg_is_told(
    run_folder, tmp_path, monkeypatch, capsys
):
    dicom_image(tmp_path / "a.dcm", colours(2)[0, ..., 0])
    run = run_folder(hip, (16, 32), thirds)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert predict_files(run, [tmp_path / "a.dcm"], tmp_path / "out", overlays=False) == 0
    assert len(list((tmp_path / "out").iterdir())) == 3
    assert "transfuse-keras[dicom]" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(InputError, match=r"transfuse-keras\[dicom\]"):
        predict_files(run, [tmp_path / "a.dcm"], tmp_path / "new", seg="fractional")


def test_what_can_have_no_seg_is_told(run_folder, tmp_path, caplog):
    header = dicom_image(tmp_path / "in" / "a.dcm", colours(2)[0, ..., 0])
    del header.StudyInstanceUID
    header.save_as(tmp_path / "in" / "b.dcm")
    header.StudyInstanceUID = ""
    header.save_as(tmp_path / "in" / "d.dcm")
    out, run = tmp_path / "out", run_folder(hip, (16, 32), thirds)
    assert predict_files(run, [tmp_path / "in"], out, overlays=False, measure=True) == 2
    measured = {row["name"] for row in read_table(out / "measurements.csv")}
    for name in "bd":
        assert re.search(f"{name}.dcm: .*lacks StudyInstanceUID", caplog.text)
        assert (out / f"{name}_pelvis.png").is_file() and not (out / f"{name}_seg.dcm").exists()
        assert name in measured
    # a SEG is no image to predict
    caplog.clear()
    shutil.copy(out / "a_seg.dcm", tmp_path / "in" / "c.dcm")
    predict_files(run, [tmp_path / "in"], out, overlays=False, seg="none")
    assert "c.dcm" in caplog.text and not (out / "c_pelvis.png").exists()


@pytest.mark.parametrize(
    ("names", "patient", "label", "written"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎", "bone", "ISO_IR 192"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동", "bone", "ISO_IR 192"),
        ("ISO_IR 144", "Люкceмбypг", "bone", "ISO_IR 144"),
        ("ISO_IR 100", "Müller", "肺", "ISO_IR 192"),
        (None, "Doe", "Hüfte", "ISO_IR 192"),
    ],
)
def test_names_of_patients_and_classes_are_kept_in_any_script(
    names, patient, label, written, tmp_path
):
    path, task = tmp_path / "a.dcm", replace(polyp, classes=(label,), codes={})
    tags = {"PatientName": patient} | ({"SpecificCharacterSet": names} if names else {})
    dicom_image(path, np.zeros((5, 8), "uint8"), **tags)
    header, masks = dicom.open_dicom(path), np.ones((1, 5, 8, 1), "uint8")
    made = save_segmentation(tmp_path / "s.dcm", [header], masks, task, "0 0")
    save_report(tmp_path / "r.dcm", [header], made, masks, task, "0 0")
    for name in ("s.dcm", "r.dcm"):
        found = pydicom.dcmread(tmp_path / name)
        assert (found.SpecificCharacterSet, found.PatientName) == (written, patient)
        if shutil.which("dcmdump"):
            command = ["dcmdump", "+U8", tmp_path / name]
            told = subprocess.run(command, capture_output=True, check=True).stdout.decode()
            assert patient in told and label in told


def test_a_patient_in_letters_of_no_character_set_is_refused_beside_a_class_that_needs_one(
    tmp_path,
):
    header = dicom_image(tmp_path / "a.dcm", np.zeros((5, 8), "uint8"), PatientName="Müller")
    masks = np.zeros((1, 5, 8, 1), "uint8")
    save_segmentation(tmp_path / "s.dcm", [header], masks, polyp, "0 0")
    with pytest.raises(InputError, match="its PatientName is not in the character set"):
        save_segmentation(
            tmp_path / "s.dcm", [header], masks, replace(polyp, classes=("肺",), codes={}), "0 0"
        )


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"SeriesNumber": 2**31 - 5}, ""),
        ({"PixelSpacing": [0.5]}, "its PixelSpacing is damaged"),
        ({"SeriesNumber": 77777777}, "its SeriesNumber is damaged"),
    ],
)
def test_a_damaged_number_is_named(tags, words, tmp_path):
    path = tmp_path / "a.dcm"
    dicom_image(path, np.zeros((5, 8), "uint8"), **tags)
    path.write_bytes(path.read_bytes().replace(b"77777777", b"777x7777"))
    arguments = [dicom.open_dicom(path)], np.zeros((1, 5, 8, 1), "uint8"), polyp, "0 0"
    if words:
        with pytest.raises(InputError, match=f"a.dcm: .*{words}"):
            save_segmentation(tmp_path / "s.dcm", *arguments)
    else:
        save_segmentation(tmp_path / "s.dcm", *arguments)
        assert pydicom.dcmread(tmp_path / "s.dcm").SeriesNumber == 1000


def test_simpleitk_misses_the_pixels_of_the_last_byte(tmp_path):
    """Of a SEG with 5 x 5 pixels it reads 24; the file holds them all."""
    path = tmp_path / "a_seg.dcm"
    image = dicom_image(tmp_path / "a.dcm", np.zeros((5, 5), "uint8"))
    save_segmentation(path, [image], np.ones((1, 5, 5, 1), "uint8"), polyp, "0 0")
    assert highdicom.seg.segread(path).get_pixels_by_source_instance([image.SOPInstanceUID]).all()
    values = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    assert values.ravel()[:24].all() and values.ravel()[24:].tolist() == [0]


def test_a_cine_that_is_read_in_part_gets_no_seg(run_folder, tmp_path, monkeypatch, caplog):
    dicom_image(tmp_path / "a.dcm", colours(3))
    read_dicom = dicom.read_dicom

    def fail_once(path, frame, dicom_range):
        if frame == 1:
            raise InputError(f"{path}: its pixels cannot be decoded.")
        return read_dicom(path, frame, dicom_range)

    monkeypatch.setattr(dicom, "read_dicom", fail_once)
    run, out = run_folder(hip, (16, 32), thirds), tmp_path / "out"
    assert predict_files(run, [tmp_path / "a.dcm"], out, overlays=False) == 2
    assert "2 of its 3 frames" in caplog.text and not (out / "a_seg.dcm").exists()
