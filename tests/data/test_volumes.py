import itertools
import json
import sys
from dataclasses import replace

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from data.files import decathlon_folder, series_folder
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    ornt_transform,
)

from transfuse_keras.data.kinds import is_volume, strip_suffix
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.orientation import from_slices
from transfuse_keras.data.resize import IGNORED
from transfuse_keras.data.volumes import (
    describe,
    open_volume,
    read_slices,
    read_volume,
    read_voxels,
    save_masks,
)
from transfuse_keras.errors import InputError
from transfuse_keras.metrics import dice
from transfuse_keras.tasks import prostate

AFFINE = np.array([[0.7, 0, 0, -30], [0, 0.8, 0, -40], [0, 0, 3.5, 10], [0, 0, 0, 1.0]])
ORIENTATIONS = ("RAS", "LAS", "LPS", "PLS", "ASR", "SPL", "IRP", "RIA")
ONE = replace(prostate, channels=1)


def phantom():
    """Values (24, 20, 6) float32 and labels 0-2, unlike under every turn and mirror."""
    labels = np.zeros((24, 20, 6), "uint8")
    labels[3:12, 4:9, 1:4], labels[10:20, 12:18, 2:6] = 1, 2
    x, y, z = np.mgrid[:24, :20, :6]
    return (3 * x + 5 * y + 11 * z + 90 * labels).astype("float32"), labels


def stored_as(values, codes, affine=AFFINE):
    """RAS values as a NIfTI image that is stored in another orientation."""
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    turned = affine @ inv_ornt_aff(turn, values.shape[:3])
    return nibabel.Nifti1Image(np.ascontiguousarray(apply_orientation(values, turn)), turned)


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_a_volume_is_read_alike_in_every_orientation(tmp_path, codes):
    values, labels = phantom()
    for name, array in (("image", values), ("label", labels)):
        nibabel.save(stored_as(array, codes), tmp_path / f"{name}.nii.gz")
        nibabel.save(stored_as(array, "RAS"), tmp_path / f"{name}_ras.nii.gz")
    paths = tmp_path / "image.nii.gz", tmp_path / "label.nii.gz"
    image, masks = read_volume([paths[0]], paths[1], ("PZ", "TZ"), 1, (1, 2))
    wanted = (values - values.mean()) / values.std()
    np.testing.assert_allclose(image[..., 0], wanted.transpose(2, 1, 0), atol=1e-5)
    np.testing.assert_array_equal(masks[..., 1], (labels == 2).transpose(2, 1, 0))
    assert describe([paths[0]])[:2] == (6, pytest.approx((3.5, 0.8, 0.7), rel=1e-6))
    # a prediction that is a little off scores the same, wherever it is scored
    predicted = np.roll(masks, 1, axis=1)
    save_masks(paths[0], (1, 2), True, tmp_path / "out.nii.gz", predicted)
    written, truth = (nibabel.load(x) for x in (tmp_path / "out.nii.gz", paths[1]))
    np.testing.assert_allclose(written.affine, truth.affine)
    found = dice(np.asarray(truth.dataobj) == 1, np.asarray(written.dataobj) == 1)
    assert found == pytest.approx(dice(masks[..., 0], predicted[..., 0]), abs=1e-6)
    # image and label map in different orientations are brought together
    other = tmp_path / "label_ras.nii.gz"
    np.testing.assert_array_equal(read_volume([paths[0]], other, (), 1, (1, 2))[1], masks)
    out = SimpleITK.ReadImage(str(tmp_path / "out.nii.gz"))
    at = [int(i) for i in np.argwhere(SimpleITK.GetArrayFromImage(out) == 2)[5][::-1]]
    right, anterior, superior = np.array(out.TransformIndexToPhysicalPoint(at)) * (-1, -1, 1)
    x, y, z = np.rint((np.array([right, anterior, superior]) - AFFINE[:3, 3]) / (0.7, 0.8, 3.5))
    assert predicted[int(z), int(y), int(x), 1] == 1


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"shift": 500.0}, "does not overlap"),
        ({"shift": 2.0}, "another grid"),
        ({"scale": 1.2}, "another grid"),
        ({"mirror": True}, "another grid|does not overlap"),
        ({"crop": True}, "another grid"),
        ({"codes": 0}, "how it lies"),
    ],
)
def test_a_label_map_elsewhere_in_space_is_refused(tmp_path, change, word):
    values, labels = phantom()
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), tmp_path / "image.nii.gz")
    affine = AFFINE.copy()
    affine[0, 3] += change.get("shift", 0)
    affine[:3, 1] *= change.get("scale", 1)
    affine[1] *= -1 if "mirror" in change else 1  # an image that has lost ITK's change of signs
    label = nibabel.Nifti1Image(labels[:, :, : 5 if "crop" in change else 6], affine)
    if "codes" in change:
        label.set_sform(None, 0)
        label.set_qform(None, 0)
    nibabel.save(label, tmp_path / "label.nii.gz")
    with pytest.raises(InputError, match=f"label.nii.gz: .*({word})"):
        read_volume([tmp_path / "image.nii.gz"], tmp_path / "label.nii.gz", (), 1, (1, 2))


def test_without_an_orientation_the_axes_are_taken_as_they_stand(tmp_path):
    values, labels = phantom()
    decathlon_folder(tmp_path, 3, channels=1)
    for part, array in (("imagesTr", values), ("labelsTr", labels)):
        volume = nibabel.Nifti1Image(array, AFFINE)
        volume.set_sform(None, 0)
        volume.set_qform(None, 0)
        nibabel.save(volume, tmp_path / part / "case_00.nii.gz")
    listing = find_samples(ONE, tmp_path)
    np.testing.assert_array_equal(
        listing.samples[0].read()[1][..., 0], (labels == 1).transpose(2, 1, 0)
    )
    assert any("case_00" in x and "how it lies" in x for x in listing.warnings)


def test_a_qform_that_turns_otherwise_than_the_sform_is_told(tmp_path):
    """The sform is taken, as by nibabel; SimpleITK takes the qform of this one."""
    values, labels = phantom()
    decathlon_folder(tmp_path, 3, channels=1)
    mirrored = AFFINE @ np.diag([-1, 1, 1, 1])
    mirrored[0, 3] = AFFINE[0, 3] + AFFINE[0, 0] * (labels.shape[0] - 1)
    for part, array in (("imagesTr", values), ("labelsTr", labels)):
        volume = nibabel.Nifti1Image(array, AFFINE)
        volume.set_qform(mirrored, "scanner")
        volume.set_sform(AFFINE, "aligned")
        nibabel.save(volume, tmp_path / part / "case_00.nii.gz")
    path = tmp_path / "imagesTr" / "case_00.nii.gz"
    assert SimpleITK.ReadImage(str(path)).GetDirection()[0] == 1  # to the left
    np.testing.assert_allclose(nibabel.load(path).affine, AFFINE, rtol=1e-6)
    listing = find_samples(ONE, tmp_path)
    masks = listing.samples[0].read()[1]
    np.testing.assert_array_equal(masks[..., 0], (labels == 1).transpose(2, 1, 0))
    assert any("case_00" in x and "sform" in x for x in listing.warnings)
    volume.header["quatern_b"] = 3  # of a damaged qform only the sform is left
    nibabel.save(volume, tmp_path / "a.nii")
    assert open_volume(tmp_path / "a.nii").doubt == ""


def test_axes_that_do_not_meet_at_right_angles_are_told(tmp_path):
    tilted = AFFINE.copy()
    tilted[:3, 2] += 0.2 * AFFINE[:3, 1]
    turned = AFFINE.copy()
    turned[:2, :3] = [[0.6, -0.8], [0.8, 0.6]] @ AFFINE[:2, :3]
    for name, affine, told in (("tilted", tilted, True), ("turned", turned, False)):
        nibabel.save(nibabel.Nifti1Image(phantom()[0], affine), tmp_path / f"{name}.nii")
        assert ("right angles" in describe([tmp_path / f"{name}.nii"])[2]) == told


PLACED = """space: left-posterior-superior
space directions: (0.7,0,0) (0,0.8,0) (0,0,3.5)
"""


@pytest.mark.parametrize("lines", ["spacings: 0.7 0.8 3.5\n", PLACED])
def test_an_nrrd_that_names_no_space_is_told(tmp_path, lines):
    values = phantom()[0].transpose(2, 1, 0).astype("<f4")
    kind = "type: float\nendian: little\nencoding: raw\ndimension: 3\nsizes: 24 20 6\n"
    (tmp_path / "a.nrrd").write_bytes(f"NRRD0004\n{kind}{lines}\n".encode() + values.tobytes())
    slices, spacing, doubt = read_slices([tmp_path / "a.nrrd"], 1)
    assert ("no space" in doubt) == (lines != PLACED)
    found = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "a.nrrd")))
    wanted = (found - found.mean()) / found.std()
    np.testing.assert_allclose(slices[..., 0], wanted[:, ::-1, ::-1], atol=1e-4)
    assert spacing == pytest.approx((3.5, 0.8, 0.7))


def test_masks_keep_the_header_of_the_image(tmp_path):
    values, labels = phantom()
    image = nibabel.Nifti1Image(values, None)
    turned = nibabel.affines.from_matvec(
        nibabel.eulerangles.euler2mat(0.1, 0.2, 0.3) @ np.diag([0.7, 0.8, 3.5]), (1, 2, 3)
    )
    image.set_qform(turned, "aligned")
    image.set_sform(turned, "mni")
    image.header.set_xyzt_units("mm", "sec")
    image.header["cal_max"] = 1000
    nibabel.save(image, tmp_path / "a.nii")
    slices = read_slices([tmp_path / "a.nii"], 1)[0]
    masks = np.stack([slices[..., 0] > 1, slices[..., 0] < -1], axis=-1)
    save_masks(tmp_path / "a.nii", (300, 1000), True, tmp_path / "out.nii.gz", masks)
    written, first = nibabel.load(tmp_path / "out.nii.gz"), nibabel.load(tmp_path / "a.nii")
    for key in ("qform_code", "sform_code", "xyzt_units", "quatern_b", "qoffset_x"):
        assert written.header[key] == first.header[key]
    np.testing.assert_array_equal(written.get_sform(), first.get_sform())
    assert written.header["cal_max"] == 0 and written.get_data_dtype() == np.uint16
    assert set(np.unique(np.asarray(written.dataobj))) == {0, 300, 1000}
    itk = [SimpleITK.ReadImage(str(tmp_path / name)) for name in ("a.nii", "out.nii.gz")]
    for get in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(*(getattr(x, get)() for x in itk), atol=1e-6)
    bright = (values - values.mean()) / values.std() > 1
    np.testing.assert_array_equal(np.asarray(written.dataobj) == 300, bright)


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd", ".nhdr", ".nii.gz", ".img"])
@pytest.mark.parametrize("channels", [1, 2])
def test_what_simpleitk_writes(tmp_path, suffix, channels):
    """Also vectors as NIfTI: five dimensions, the channels last."""
    values = np.random.default_rng(0).normal(size=(6, 20, 24, channels)).astype("float32")
    image = SimpleITK.GetImageFromArray(values, isVector=True)
    if channels == 1:
        image = SimpleITK.VectorIndexSelectionCast(image)
    image.SetSpacing((0.7, 0.8, 3.5))
    image.SetOrigin((1, 2, 3))
    image.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, 1))  # rows to anterior, as RAS has them
    path = tmp_path / f"a{suffix}"
    SimpleITK.WriteImage(image, str(path))
    assert is_volume(path) and strip_suffix(path) == "a"
    found, spacing, _ = read_slices([path], channels)
    wanted = (values - values.mean((0, 1, 2))) / values.std((0, 1, 2))
    np.testing.assert_allclose(found, wanted[:, :, ::-1], atol=1e-5)
    assert spacing == pytest.approx((3.5, 0.8, 0.7))
    masks = (found[..., :1] > 1).astype("uint8")
    save_masks(path, (1,), True, tmp_path / "out.nii.gz", masks)
    out = SimpleITK.ReadImage(str(tmp_path / "out.nii.gz"))
    for get in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(out, get)(), getattr(image, get)(), atol=1e-6)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(out), wanted[..., 0] > 1)


def test_without_simpleitk_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.nrrd").write_text("NRRD0004")
    with pytest.raises(InputError, match="a.nrrd: not a readable volume"):
        open_volume(tmp_path / "a.nrrd")
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(InputError, match=r"a.nrrd: .*transfuse-keras\[itk\]"):
        open_volume(tmp_path / "a.nrrd")
    nibabel.save(nibabel.AnalyzeImage(np.zeros((4, 5, 6), "int16"), np.eye(4)), tmp_path / "b.img")
    with pytest.raises(InputError, match="b.img: .*ANALYZE"):
        open_volume(tmp_path / "b.img")


@pytest.mark.parametrize("unit", ["mm", "unknown", "micron", "meter"])
def test_a_volume_in_another_unit_than_mm_is_refused(tmp_path, unit):
    volume = nibabel.Nifti1Image(np.zeros((4, 5, 6), "int16"), np.eye(4))
    volume.header.set_xyzt_units(unit)
    nibabel.save(volume, tmp_path / "a.nii.gz")
    if unit in ("mm", "unknown"):
        assert open_volume(tmp_path / "a.nii.gz").shape == (4, 5, 6, 1)
    else:
        with pytest.raises(InputError, match=rf"a\.nii\.gz: .*{unit}"):
            open_volume(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("normal", [1, -1])
def test_a_series_is_sorted_by_where_its_slices_lie(tmp_path, normal):
    values = series_folder(tmp_path / "scan", normal=normal)
    volume = open_volume(tmp_path / "scan")
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "scan")))
    wanted = SimpleITK.GetArrayFromImage(reader.Execute())
    np.testing.assert_array_equal(wanted, values)
    np.testing.assert_array_equal(read_voxels(volume)[..., 0], wanted.transpose(2, 1, 0))
    spatial = np.array(reader.Execute().TransformIndexToPhysicalPoint((5, 7, 3)))
    np.testing.assert_allclose(
        volume.affine @ (5, 7, 3, 1), [*(spatial * (-1, -1, 1)), 1], atol=1e-4
    )


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"missing": True}, "unequally spaced"),
        ({"ImagePositionPatient": [-10.5, 20.25, -40]}, "at one place"),
        ({"PixelSpacing": [1, 1]}, "orientation or spacing"),
        ({"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]}, "orientation or spacing"),
        ({"SeriesInstanceUID": "1.2.3"}, "holds 2 DICOM series"),
        ({"NumberOfFrames": 2}, "dcm2niix"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "MONOCHROME1"),
        ({"ImagePositionPatient": None}, "ImagePositionPatient"),
    ],
)
def test_a_series_that_is_no_volume_is_refused(tmp_path, change, word):
    series_folder(tmp_path / "scan")
    path = sorted((tmp_path / "scan").iterdir())[2]
    if "missing" in change:
        path.unlink()
    else:
        dicom = pydicom.dcmread(path)
        for name, value in change.items():
            setattr(dicom, name, value)
        dicom.save_as(path)
    with pytest.raises(InputError, match=f"scan: .*{word}"):
        open_volume(tmp_path / "scan")


def nnunet_folder(folder, case="a", **description):
    """One case with a file for each of two channels, as nnU-Net names them."""
    values, labels = phantom()
    for part, name, array in (
        ("imagesTr", f"{case}_0000", values),
        ("imagesTr", f"{case}_0001", values[::-1] ** 2),
        ("labelsTr", case, labels),
    ):
        (folder / part).mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(array, AFFINE), folder / part / f"{name}.nii.gz")
    content = {"labels": {"background": 0, "TZ": 2, "PZ": 1}, **description}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


ENTRY = {"label": "labelsTr/a.nii.gz"}
SECOND = {"channel_names": {"0": "T2", "1": "ADC"}, "numTraining": 1, "file_ending": ".nii.gz"}
FILES = [f"imagesTr/a_000{i}.nii.gz" for i in (0, 1)]


@pytest.mark.parametrize(
    "description",
    [
        SECOND,
        {"training": [{"image": "imagesTr/a.nii.gz", **ENTRY}]},
        {"training": [{"image": FILES, **ENTRY}]},
    ],
)
def test_a_file_for_each_channel(tmp_path, description):
    folder = nnunet_folder(tmp_path, **description)
    listing = find_samples(prostate, folder)
    assert not listing.errors
    (sample,) = listing.samples
    assert sample.name == "a"
    image, masks = sample.read()
    values, labels = phantom()
    second = values[::-1] ** 2
    second = (second - second.mean()) / second.std()
    np.testing.assert_allclose(from_slices(image, AFFINE)[..., 1], second, atol=1e-4)
    np.testing.assert_array_equal(masks[..., 0], (labels == 1).transpose(2, 1, 0))
    # channels on different grids are refused
    moved = nibabel.Nifti1Image(second[:, :, 1:], AFFINE)
    nibabel.save(moved, tmp_path / FILES[1])
    (error,) = find_samples(prostate, folder).errors
    assert "a_0001.nii.gz" in error and "another grid" in error


def test_the_channels_of_a_task_may_have_names_of_their_own(tmp_path):
    nnunet_folder(tmp_path, **SECOND)
    for path, name in itertools.zip_longest(FILES, ("T2", "ADC")):
        (tmp_path / path).rename(tmp_path / "imagesTr" / f"a_{name}.nii.gz")
    task = replace(prostate, channel_suffixes=("_T2", "_ADC"))
    (sample,) = find_samples(task, tmp_path).samples
    assert sample.read()[0].shape == (6, 20, 24, 2)
    assert any("a_0000" in x for x in find_samples(prostate, tmp_path).errors)


@pytest.mark.parametrize(
    ("change", "word"),
    [({"numTraining": 3}, "numTraining 3"), ({"channel_names": {"0": "T2"}}, "1 channel")],
)
def test_an_nnunet_description_that_does_not_fit_is_refused(tmp_path, change, word):
    nnunet_folder(tmp_path, **{**SECOND, **change})
    with pytest.raises(InputError, match=word):
        find_samples(prostate, tmp_path)


def test_a_series_with_a_label_map_is_trained_on(tmp_path):
    values = series_folder(tmp_path / "imagesTr" / "a")
    volume = open_volume(tmp_path / "imagesTr" / "a")
    labels = (values > 0).transpose(2, 1, 0).astype("uint8")
    (tmp_path / "labelsTr").mkdir()
    label = nibabel.as_closest_canonical(nibabel.Nifti1Image(labels, volume.affine))
    nibabel.save(label, tmp_path / "labelsTr" / "a.nii.gz")
    entry = {"image": "imagesTr/a", "label": "labelsTr/a.nii.gz"}
    content = {"labels": {"0": "background", "1": "bone"}, "training": [entry]}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    (sample,) = find_samples(replace(ONE, classes=("bone",), mirror_pairs=()), tmp_path).samples
    image, masks = sample.read()
    assert image.shape == (6, 40, 32, 1) and sample.spacing == pytest.approx((3, 0.9, 0.7))
    assert image[masks == 1].min() > image[masks == 0].max()


def test_float_labels_that_are_nearly_whole_are_labels(tmp_path):
    values, labels = phantom()
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), tmp_path / "a.nii")
    for shift, fits in ((1e-6, True), (0.3, False)):
        label = nibabel.Nifti1Image(labels.astype("float32") * (1 + shift), AFFINE)
        nibabel.save(label, tmp_path / "b.nii")
        if fits:
            masks = read_volume([tmp_path / "a.nii"], tmp_path / "b.nii", (), 1, (1, 2))[1]
            np.testing.assert_array_equal(masks[..., 1], (labels == 2).transpose(2, 1, 0))
        else:
            with pytest.raises(InputError, match="b.nii: .*1.3"):
                read_volume([tmp_path / "a.nii"], tmp_path / "b.nii", ("x", "y"), 1, (1, 2))


def test_voxels_to_leave_out(tmp_path):
    """nnU-Net's label "ignore": refused without the task's `ignore`, else of weight 0."""
    from transfuse_keras.data.cache import read_fitted

    values, labels = phantom()
    left_out = np.zeros(labels.shape, bool)
    left_out[8:14, 6:14, 3] = True
    labels[left_out] = 3
    for part, array in (("imagesTr", values), ("labelsTr", labels)):
        (tmp_path / part).mkdir()
        nibabel.save(stored_as(array, "PLS"), tmp_path / part / "a.nii.gz")
    entry = {"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}
    content = {"labels": {"background": 0, "PZ": 1, "TZ": 2, "ignore": 3}, "training": [entry]}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="dataset.json: .*ignore=3"):
        find_samples(ONE, tmp_path)
    del content["labels"]["ignore"]  # which only nnU-Net names
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="dataset.json: .*label 2"):
        find_samples(replace(ONE, ignore=2), tmp_path)
    (sample,) = find_samples(replace(ONE, ignore=3), tmp_path).samples
    _, masks = sample.read()
    slices = labels.transpose(2, 1, 0)
    wanted = np.where(slices[..., None] == 3, IGNORED, slices[..., None] == [1, 2])
    np.testing.assert_array_equal(masks, wanted)
    # 22 x 18 pixels of the slices' own size: cropped about the centre, nothing is resampled
    field = 0.8 * 18, 0.7 * 22
    _, fitted = read_fitted(sample, (18, 22), field)
    np.testing.assert_array_equal(fitted, wanted[:, 1:-1, 1:-1])
