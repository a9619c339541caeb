"""measurements.csv and DICOM SR of what `predict` finds."""

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
from data.files import dicom_image, enhanced_image, save, series_folder
from inference.test_dicom_seg import SCAN, colours, levels, run_folder, thirds, validate

from transfuse_keras.data.dicom import dicom_header
from transfuse_keras.errors import InputError
from transfuse_keras.files import read_table
from transfuse_keras.inference.measurements import find_scale
from transfuse_keras.inference.predict_files import predict_files
from transfuse_keras.tasks import hip

__all__ = ["run_folder"]


def block(rows, columns, size=(32, 64)):
    """RGB, of which red shows a block."""
    image = np.zeros((*size, 3), "uint8")
    image[4 : 4 + rows, 6 : 6 + columns, 0] = 255
    return image


def read_groups(path):
    """(number of a frame of the SEG, its image, frame of that, {name: (value, unit, method)}) of
    the structures that an SR measures."""
    found = []
    for group in highdicom.sr.srread(path).content.get_planar_roi_measurement_groups():
        named = {x.name.meaning: x for x in group[0].ContentSequence}
        sizes = {
            x.name.meaning: (x.value, x.unit.value, x.method and x.method.meaning)
            for x in group.get_measurements()
        }
        image = named["Source Image for Segmentation"]
        frames = image.referenced_frame_numbers
        found.append(
            (
                named["Referenced Segmentation Frame"].referenced_frame_numbers[0],
                image.referenced_sop_instance_uid,
                frames and frames[0],
                sizes,
            )
        )
    return found


def test_sizes_are_in_mm_where_the_file_tells_them(run_folder, tmp_path, caplog):
    grey = block(20, 41)[..., 0]
    dicom_image(tmp_path / "in" / "a.dcm", grey, PixelSpacing=[0.5, 0.25])
    dicom_image(tmp_path / "in" / "b.dcm", grey, ImagerPixelSpacing=[0.1, 0.1])
    dicom_image(tmp_path / "in" / "c.dcm", grey)
    save(tmp_path / "in" / "d.png", block(20, 41))
    dicom_image(tmp_path / "in" / "e.dcm", grey, PixelSpacing=[0, 0.25])
    run, out = run_folder(hip, (32, 64), thirds), tmp_path / "out"
    options = {"overlays": False, "measure": True, "seg": "none"}
    assert predict_files(run, [tmp_path / "in"], out, **options) == 1
    assert "e.dcm" in caplog.text and "PixelSpacing" in caplog.text
    rows = read_table(out / "measurements.csv")
    assert [(row["name"], row["class"]) for row in rows] == [
        (name, k) for name in "abcd" for k in hip.classes
    ]
    pelvis = {row["name"]: row for row in rows if row["class"] == "pelvis"}
    for name, area, unit, scale in (
        ("a", 820 * 0.125, "mm", "PixelSpacing"),
        ("b", 8.2, "mm", "ImagerPixelSpacing"),
        ("c", 820, "px", "none"),
        ("d", 820, "px", "none"),
    ):
        row = pelvis[name]
        assert (float(row["area"]), row["unit"], row["scale"]) == (area, unit, scale)
    assert float(pelvis["a"]["longest"]) == pytest.approx(np.hypot(10, 10.25), abs=0.3)
    (empty,) = [row for row in rows if row["name"] == "d" and row["class"] == "left_femur"]
    assert (empty["parts"], empty["area"], empty["longest"]) == ("0", "0.0", "")


def test_enhanced_images_tell_the_size_of_a_pixel_in_functional_groups(run_folder, tmp_path):
    frames = np.stack([block(rows, 20)[..., 0] for rows in (10, 20)])
    enhanced_image(tmp_path / "a.dcm", frames, [[0, 0, 3 * k] for k in range(2)])
    assert dicom_header(tmp_path / "a.dcm") == ("17", (0.5, 0.25))
    run, out = run_folder(hip, (32, 64), thirds), tmp_path / "out"
    options = {"overlays": False, "measure": True, "sr": True}
    assert predict_files(run, [tmp_path / "a.dcm"], out, **options) == 0
    rows = [x for x in read_table(out / "measurements.csv") if x["class"] == "pelvis"]
    assert [(float(row["area"]), row["unit"]) for row in rows] == [(25, "mm"), (50, "mm")]
    areas = [sizes["Area"] for *_, sizes in read_groups(out / "a_sr.dcm")]
    assert {25, 50} == {area for area, *_ in areas} and {"mm2"} == {unit for _, unit, _ in areas}


def test_a_volume_is_measured_slice_by_slice_and_as_a_whole(run_folder, tmp_path):
    values = np.zeros((40, 30, 6), "float32")
    values[5:25, 10:22, 1:4], values[5:35, 10:22, 4] = 100, 100
    nibabel.save(nibabel.Nifti1Image(values, np.diag([0.5, 0.8, 3, 1])), tmp_path / "v.nii.gz")
    run, out = run_folder(SCAN, (30, 40), levels), tmp_path / "out"
    assert predict_files(run, [tmp_path / "v.nii.gz"], out, overlays=False, measure=True) == 0
    rows = [x for x in read_table(out / "measurements.csv") if x["class"] == "bright"]
    assert [row["slice"] for row in rows] == ["all", "2", "3", "4", "5"]
    assert {(row["name"], row["unit"], row["scale"]) for row in rows} == {("v", "mm", "header")}
    voxels = np.asarray(nibabel.load(out / "v.nii.gz").dataobj)[..., 0]
    whole, *slices = rows
    assert float(whole["volume"]) == pytest.approx(1.2 * voxels.sum()) and whole["parts"] == "1"
    assert [float(row["area"]) for row in slices] == pytest.approx(
        0.4 * voxels.sum(axis=(0, 1))[1:5]
    )
    assert whole["longest"] == slices[-1]["longest"] > slices[0]["longest"]


def test_a_report_measures_each_frame_of_the_seg(run_folder, tmp_path):
    series_folder(tmp_path / "scan")
    for path in (tmp_path / "scan").iterdir():  # slices of which each is another
        image = pydicom.dcmread(path)
        pixels = image.pixel_array.copy()
        depth = round((image.ImagePositionPatient[2] + 40) / 3)
        pixels[10 : 12 + 3 * depth, 5:20] = 300
        image.PixelData = pixels.tobytes()
        image.save_as(path)
    run, out = run_folder(SCAN, (40, 32), levels), tmp_path / "out"
    options = {"overlays": False, "measure": True, "sr": True}
    assert predict_files(run, [tmp_path / "scan"], out, **options) == 0
    assert not validate(out / "scan_sr.dcm")
    seg = pydicom.dcmread(out / "scan_seg.dcm")
    found = read_groups(out / "scan_sr.dcm")
    frames = {number: sizes for number, _, _, sizes in found}
    for number, (plane, group) in enumerate(
        zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True), 1
    ):
        assert (number in frames) == plane.any()
        if plane.any():
            area, unit, method = frames[number]["Area"]
            assert (area, unit, method) == (pytest.approx(0.63 * plane.sum()), "mm2", None)
        for image in [image for index, image, _, _ in found if index == number]:
            (source,) = group.DerivationImageSequence[0].SourceImageSequence
            assert source.ReferencedSOPInstanceUID == image
    assert len({sizes["Area"] for sizes in frames.values()}) == 5
    rows = [x for x in read_table(out / "measurements.csv") if x["slice"] != "all"]
    names = {"Area": "area", "Long axis": "longest", "Short axis": "perpendicular"}
    wanted = sorted(tuple(float(row[x]) for x in names.values()) for row in rows)
    assert sorted(tuple(sizes[x][0] for x in names) for sizes in frames.values()) == wanted
    report = pydicom.dcmread(out / "scan_sr.dcm")
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert seg.SeriesInstanceUID in {x.SeriesInstanceUID for x in evidence}
    assert report.PatientID == seg.PatientID and report.StudyInstanceUID == seg.StudyInstanceUID
    predict_files(run, [tmp_path / "scan"], tmp_path / "again", **options)
    again = pydicom.dcmread(tmp_path / "again" / "scan_sr.dcm")
    assert again.SOPInstanceUID == report.SOPInstanceUID


def test_reports_of_radiographs_and_cines(run_folder, tmp_path):
    dicom_image(tmp_path / "in" / "a.dcm", block(9, 20)[..., 0], ImagerPixelSpacing=[0.5, 0.5])
    cine = dicom_image(tmp_path / "in" / "b.dcm", colours(4))
    dicom_image(tmp_path / "in" / "c.dcm", np.zeros((32, 64), "uint8"))
    run, out = run_folder(hip, (24, 40), thirds), tmp_path / "out"
    options = {"overlays": False, "seg": "fractional", "sr": True}
    assert predict_files(run, [tmp_path / "in"], out, **options) == 0
    assert not any(validate(out / f"{name}_sr.dcm") for name in "abc")
    sizes = read_groups(out / "a_sr.dcm")[0][-1]
    assert sizes["Area"][1] == "mm2" and "detector" in sizes["Area"][2]
    found = read_groups(out / "b_sr.dcm")
    assert {(image, sizes["Area"][1:]) for _, image, _, sizes in found} == {
        (cine.SOPInstanceUID, ("{pixels}", None))
    }
    assert {frame for _, _, frame, _ in found} == {1, 2, 3}  # the last one is black
    assert not read_groups(out / "c_sr.dcm")
    content = highdicom.sr.srread(out / "c_sr.dcm").content
    nothing = [group.get_measurements() for group in content.get_image_measurement_groups()]
    assert [[x.value for x in sizes] for sizes in nothing] == [[0.0]] * 3


def test_without_a_seg_there_is_no_report(run_folder, tmp_path):
    save(tmp_path / "a.png", block(9, 20))
    dicom_image(tmp_path / "b.dcm", block(9, 20)[..., 0])
    run = run_folder(hip, (32, 64), thirds)
    for name, seg in (("a.png", None), ("b.dcm", "none")):
        with pytest.raises(InputError, match="SR"):
            predict_files(run, [tmp_path / name], tmp_path / "out", seg=seg, sr=True)


@pytest.mark.parametrize(
    ("attributes", "scale"),
    [
        ({"ImagerPixelSpacing": [0.5, 0.25]}, "ImagerPixelSpacing"),
        ({"ImagerPixelSpacing": ["0.50", "0.250"]}, "ImagerPixelSpacing"),
        ({"ImagerPixelSpacing": [0.6, 0.3]}, "PixelSpacing"),
        ({"ImagerPixelSpacing": 0.5}, "PixelSpacing"),
        (
            {"ImagerPixelSpacing": [0.5, 0.25], "PixelSpacingCalibrationType": "GEOMETRY"},
            "PixelSpacing",
        ),
    ],
)
def test_a_spacing_equal_to_that_at_the_detector_was_not_corrected(attributes, scale, tmp_path):
    path = tmp_path / "a.dcm"
    dicom_image(path, block(9, 20)[..., 0], PixelSpacing=[0.5, 0.25], **attributes)
    assert find_scale(pydicom.dcmread(path), path) == (scale, (0.5, 0.25))


def test_pixels_that_are_not_square_are_not_measured_without_their_size(tmp_path):
    path, size = tmp_path / "a.dcm", {"PixelSpacing": [0.5, 0.25]}
    for attributes, told in (({}, ("none", None)), (size, ("PixelSpacing", (0.5, 0.25)))):
        dicom_image(path, block(9, 20)[..., 0], PixelAspectRatio=[7, 7], **attributes)
        assert find_scale(pydicom.dcmread(path), path) == told
    dicom_image(path, block(9, 20)[..., 0], PixelAspectRatio=[2, 1], **size)
    assert find_scale(pydicom.dcmread(path), path) == told
    for ratio in ([2, 1], 2):
        dicom_image(path, block(9, 20)[..., 0], PixelAspectRatio=ratio)
        with pytest.raises(InputError, match="a.dcm: .*PixelAspectRatio"):
            find_scale(pydicom.dcmread(path), path)
