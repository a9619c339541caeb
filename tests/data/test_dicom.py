import numpy as np
import pydicom
import pytest
from data.files import rows_of_labels, save
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

from transfuse_keras.data.dicom import dicom_header, read_dicom
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.errors import InputError
from transfuse_keras.tasks import hip


def write_dicom(path, values, **tags):
    """A 16-bit radiograph; keyword arguments are DICOM attributes."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    dicom = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dicom.Rows, dicom.Columns = values.shape[:2]
    dicom.SamplesPerPixel, dicom.PhotometricInterpretation = 1, "MONOCHROME2"
    dicom.BitsAllocated, dicom.BitsStored, dicom.HighBit = 16, 12, 11
    dicom.PixelRepresentation = 0
    for name, value in tags.items():
        setattr(dicom, name, value)
    dicom.PixelData = values.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dicom.save_as(path)


@pytest.fixture
def ramp():
    """uint16 (30, 40): 0 to 3900 from left to right."""
    return np.broadcast_to(100 * np.arange(40, dtype="uint16"), (30, 40)).copy()


def test_rescale_and_window(tmp_path, ramp):
    path = tmp_path / "a.dcm"
    tags = {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": 1000, "WindowWidth": 2000}
    write_dicom(path, ramp, **tags)
    # DICOM PS3.3 C.11.2.1.2 on values 2 x - 1000: black at 0, white at 2000
    values = 2.0 * ramp - 1000
    wanted = 255 * np.clip((values - (1000 - 0.5)) / (2000 - 1) + 0.5, 0, 1)
    np.testing.assert_allclose(read_dicom(path)[..., 0], wanted, atol=1)
    write_dicom(path, ramp, **tags, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_allclose(read_dicom(path)[..., 0], 255 - wanted, atol=1)


def test_without_a_window_the_whole_range_is_shown(tmp_path, ramp):
    write_dicom(tmp_path / "a.dcm", ramp)
    np.testing.assert_allclose(
        read_dicom(tmp_path / "a.dcm")[..., 0], ramp * (255.0 / 3900), atol=0.51
    )
    signed = (ramp.astype("int16") - 2000).astype("int16")
    write_dicom(tmp_path / "b.dcm", signed, PixelRepresentation=1)
    np.testing.assert_allclose(
        read_dicom(tmp_path / "b.dcm")[..., 0], ramp * (255.0 / 3900), atol=0.51
    )


def test_colour(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype="uint8")
    tags = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    write_dicom(tmp_path / "a.dcm", rgb, **tags, BitsAllocated=8, BitsStored=8, HighBit=7)
    np.testing.assert_array_equal(read_dicom(tmp_path / "a.dcm"), rgb)


def test_patient_and_spacing_come_from_the_header(tmp_path, ramp):
    for number in range(4):
        tags = {"PatientID": f"id{number // 2}", "PixelSpacing": [0.2, 0.15 + number / 100]}
        write_dicom(tmp_path / "images" / f"x{number}.dcm", ramp, **tags)
        save(tmp_path / "masks" / f"x{number}.png", rows_of_labels())
    samples = find_samples(hip, tmp_path).samples
    assert [sample.group for sample in samples] == ["id0", "id0", "id1", "id1"]
    assert samples[1].spacing == (0.2, 0.16)
    image, masks = samples[1].read()
    assert image.shape == (30, 40, 3) and masks.shape == (30, 40, 3)
    write_dicom(tmp_path / "images" / "x0.dcm", ramp, ImagerPixelSpacing=[0.1, 0.1])
    assert dicom_header(tmp_path / "images" / "x0.dcm") == (None, (0.1, 0.1))
    write_dicom(tmp_path / "images" / "x0.dcm", ramp, PixelSpacing=[0, 0.1])
    assert "x0.dcm: its spacing is 0 x 0.1 mm" in find_samples(hip, tmp_path).errors[0]


def test_a_damaged_tag_is_one_sentence(tmp_path, ramp):
    path = tmp_path / "x.dcm"
    write_dicom(path, ramp, PixelSpacing=[0.125, 0.125])
    content = path.read_bytes()
    assert content.count(b"0.125") == 2
    path.write_bytes(content.replace(b"0.125", b"0.1x5"))
    with pytest.raises(InputError, match="x.dcm: its patient or pixel spacing cannot be read"):
        dicom_header(path)


def test_unreadable_files_are_one_sentence(tmp_path, ramp):
    path = tmp_path / "images" / "x.dcm"
    write_dicom(path, ramp)
    save(tmp_path / "masks" / "x.png", rows_of_labels())
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match="x.dcm: its pixels cannot be decoded") as error:
        read_dicom(path)
    assert "\n" not in str(error.value)
    path.write_text("hello")
    assert "x.dcm: not a readable DICOM file" in find_samples(hip, tmp_path).errors[0]
    write_dicom(path, np.stack([ramp, ramp])[:, :, :, None].reshape(60, 40), NumberOfFrames=2)
    dicom = pydicom.dcmread(path)
    dicom.Rows = 30
    dicom.save_as(path)
    with pytest.raises(InputError, match="x.dcm: .*several frames"):
        read_dicom(path)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"Rows": 65535, "Columns": 65535}, "it claims 65535x65535 pixels"),
        ({"SamplesPerPixel": 65535}, "it has 65535 values a pixel"),
        ({"NumberOfFrames": 2**31 - 1}, "it holds several frames"),
        ({"WindowWidth": float("nan"), "WindowCenter": 1}, "leaves undefined values"),
        ({"RescaleSlope": float("nan"), "RescaleIntercept": 0}, "leaves undefined values"),
    ],
)
def test_what_a_header_claims_is_checked_before_pixels_are_decoded(tmp_path, ramp, tags, message):
    write_dicom(tmp_path / "x.dcm", ramp, **tags)
    with pytest.raises(InputError, match=f"x.dcm: its pixels cannot be decoded .*{message}"):
        read_dicom(tmp_path / "x.dcm")


def test_deflated_files_are_refused_before_they_are_unpacked(tmp_path, ramp):
    write_dicom(tmp_path / "x.dcm", ramp)
    dicom = pydicom.dcmread(tmp_path / "x.dcm")
    dicom.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dicom.save_as(tmp_path / "x.dcm")
    assert pydicom.dcmread(tmp_path / "x.dcm").Rows == 30
    for read in (read_dicom, dicom_header):
        with pytest.raises(InputError, match="x.dcm: not a readable DICOM file .it is deflated"):
            read(tmp_path / "x.dcm")
