import gzip

import nibabel
import numpy as np
import pytest
from data.files import decathlon_folder

from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.orientation import from_slices, to_slices
from transfuse_keras.data.resize import binary, crop_field, scaled_size, uncrop_field
from transfuse_keras.data.volumes import describe, open_volume, read_volume
from transfuse_keras.errors import InputError
from transfuse_keras.tasks import prostate


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_and_back(axis):
    values = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    spacing = np.ones(4)
    spacing[axis] = 2
    slices = to_slices(values, np.diag(spacing))
    assert slices.shape[0] == values.shape[axis]
    np.testing.assert_array_equal(from_slices(slices, np.diag(spacing)), values)
    if axis == 2:
        np.testing.assert_array_equal(slices[1], values[:, :, 1].swapaxes(0, 1))


@pytest.mark.parametrize(
    ("spacing", "count", "wanted"),
    [((1.0, 0.8, 3.0), 5, (3.0, 0.8, 1.0)), ((4.0, 0.8, 0.5), 24, (4.0, 0.5, 0.8))],
)
def test_slices_are_perpendicular_to_the_largest_spacing(tmp_path, spacing, count, wanted):
    decathlon_folder(tmp_path, 1, spacing=spacing)
    slices, found, doubt = describe([tmp_path / "imagesTr" / "case_00.nii.gz"])
    assert not doubt and slices == count and found == pytest.approx(wanted)


def test_masks_return_to_the_grid_and_affine_of_the_volume(tmp_path):
    for spacing in ((1.0, 0.8, 3.0), (4.0, 0.8, 0.5)):
        sample = find_samples(prostate, decathlon_folder(tmp_path, 1, spacing=spacing)).samples[0]
        _, masks = sample.read()
        sample.save(tmp_path / "out.nii.gz", masks)
        written, truth = (nibabel.load(x) for x in (tmp_path / "out.nii.gz", sample.files[1]))
        np.testing.assert_array_equal(np.asarray(written.dataobj), np.asarray(truth.dataobj))
        np.testing.assert_array_equal(written.affine, truth.affine)
        np.testing.assert_allclose(written.header.get_zooms(), spacing)
        assert not list(tmp_path.glob("*.part*")) and not list(tmp_path.glob(".part*"))


def test_a_fitted_slice_shows_the_field():
    """A disc of 10 mm radius at the centre, on pixels of 0.5 x 0.8 mm, fitted to 1 mm pixels."""
    y, x = (np.arange(n) - (n - 1) / 2 for n in (120, 90))
    inside = (y[:, None] * 0.5) ** 2 + (x[None] * 0.8) ** 2 <= 100
    fitted = crop_field(inside[..., None], (0.5, 0.8), (64.0, 48.0), (64, 48))
    assert fitted.shape == (64, 48, 1) and fitted.dtype == np.float32
    y, x = (np.arange(n) - (n - 1) / 2 for n in (64, 48))
    wanted = y[:, None] ** 2 + x[None] ** 2 <= 100
    assert (binary(fitted)[..., 0] != wanted).mean() < 0.01
    coarse = crop_field(inside[..., None], (0.5, 0.8), (64.0, 48.0), (32, 24))  # the same field
    assert coarse.mean() == pytest.approx(fitted.mean(), rel=0.05)


@pytest.mark.parametrize("shape", [(40, 30), (200, 150), (63, 49), (200, 31)])
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 0.7), (1.7, 0.4)])
def test_what_was_fitted_returns_to_its_place(shape, spacing):
    """Smooth blobs inside the field come back where they were; outside is 0."""
    field, size = (64.0, 48.0), (128, 96)
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in shape)
    y, x = rows[:, None] * spacing[0], columns[None] * spacing[1]
    blob = np.exp(-((y - 5) ** 2 + (x + 4) ** 2) / 50)[..., None].astype("float32")
    back = uncrop_field(crop_field(blob, spacing, field, size), shape, spacing, field)
    assert back.shape == blob.shape
    inside = (np.abs(y) < 28) & (np.abs(x) < 20)
    assert np.abs(back - blob)[inside].max() < 0.06
    beyond = (np.abs(y) > 34) | (np.abs(x) > 26)
    assert not back[beyond].any()
    assert scaled_size(shape, spacing, field, size)[0] == round(shape[0] * spacing[0] * 2)


def save_volume(path, values):
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1, 1, 3, 1])), path)


def test_volumes_are_z_scored_by_channel(tmp_path):
    values = np.random.default_rng(0).normal(1e4, 3, (6, 5, 4, 2)).astype("float32")
    save_volume(tmp_path / "a.nii", values)
    found, _ = read_volume([tmp_path / "a.nii"], None, (), 2, ())
    exact = values.astype("float64")
    exact = (exact - exact.mean((0, 1, 2))) / exact.std((0, 1, 2))
    np.testing.assert_allclose(from_slices(found, np.diag([1, 1, 3, 1])), exact, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(nibabel.load(tmp_path / "a.nii").dataobj), values)
    values[..., 1] = 0.1  # whose mean is not quite 0.1
    save_volume(tmp_path / "a.nii", values)
    with pytest.raises(InputError, match="a.nii: channel 1 .*one value"):
        read_volume([tmp_path / "a.nii"], None, (), 2, ())


def test_values_too_far_apart_to_be_scored_are_refused(tmp_path):
    values = np.zeros((6, 5, 4), "float32")
    values[0, 0, 0], values[1, 1, 1] = 3e38, -3e38
    save_volume(tmp_path / "a.nii", values)
    with pytest.raises(InputError, match="a.nii: .*too far apart"):
        read_volume([tmp_path / "a.nii"], None, (), 1, ())


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_a_header_that_claims_too_much_is_refused_before_voxels_are_read(tmp_path, suffix):
    volume = nibabel.Nifti1Image(np.zeros((2, 2, 2), "uint8"), np.eye(4))
    content = bytearray(volume.to_bytes())
    content[42:48] = np.array([32767] * 3, "<i2").tobytes()
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(gzip.compress(content) if suffix == "nii.gz" else content)
    with pytest.raises(InputError, match=r"a.nii.*it claims 32767 x 32767 x 32767 voxels"):
        open_volume(path)
    volume = nibabel.Nifti1Image(np.ones((2, 2, 2), "complex64"), np.eye(4))
    nibabel.save(volume, path)
    with pytest.raises(InputError, match="complex64"):
        open_volume(path)
