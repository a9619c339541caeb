import logging
import re
import shutil
import subprocess
import sys
import time
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import imagecodecs
import nibabel
import numpy as np
import pydicom
import pytest
from data.files import rows_of_labels, save
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_color_lut, convert_color_space, pixel_array
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from transfuse_keras.data import dicom_decoder
from transfuse_keras.data.dicom import count_frames, dicom_header, read_dicom
from transfuse_keras.data.kinds import is_dicom
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.quiet import reading
from transfuse_keras.data.readers import read_image
from transfuse_keras.errors import InputError
from transfuse_keras.tasks import hip


def write_dicom(path, values, syntax=ExplicitVRLittleEndian, frames=None, without=(), **tags):
    """A 16-bit radiograph; keyword arguments are DICOM attributes, `frames` are encoded ones."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    little = syntax.is_little_endian
    dicom = FileDataset(path, {}, b"\0" * 128, meta, is_implicit_VR=False, is_little_endian=little)
    dicom.Rows, dicom.Columns = values.shape[:2]
    dicom.SamplesPerPixel, dicom.PhotometricInterpretation = 1, "MONOCHROME2"
    dicom.BitsAllocated, dicom.BitsStored, dicom.HighBit = 16, 12, 11
    dicom.PixelRepresentation = 0
    for name, value in tags.items():
        setattr(dicom, name, value)
    for name in without:
        delattr(dicom, name)
    dicom.PixelData = values.tobytes() if frames is None else encapsulate(frames)
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


@pytest.mark.parametrize(
    "tags",
    [
        {"RescaleSlope": None, "RescaleIntercept": None},
        {"RescaleSlope": 2, "RescaleIntercept": None},
        {"WindowCenter": ["", "400"], "WindowWidth": ["", "400"]},
    ],
)
def test_what_is_there_without_a_value_counts_as_absent(tmp_path, ramp, tags):
    """So does dcmtk."""
    path = tmp_path / "a.dcm"
    write_dicom(path, ramp, **tags)
    wanted = ramp * (255.0 / 3900)
    np.testing.assert_allclose(read_dicom(path)[..., 0], wanted, atol=0.51)
    np.testing.assert_allclose(dcmtk(path, "--min-max-window")[..., 0], wanted, atol=1)


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
    assert re.search("x0.dcm: .*0 x 0.1 mm", find_samples(hip, tmp_path).errors[0])


def test_a_damaged_tag_is_one_sentence(tmp_path, ramp):
    path = tmp_path / "x.dcm"
    write_dicom(path, ramp, PixelSpacing=[0.125, 0.125])
    content = path.read_bytes()
    assert content.count(b"0.125") == 2
    path.write_bytes(content.replace(b"0.125", b"0.1x5"))
    with pytest.raises(InputError, match="x.dcm: .*pixel spacing"):
        dicom_header(path)


def test_unreadable_files_are_one_sentence(tmp_path, ramp):
    path = tmp_path / "images" / "x.dcm"
    write_dicom(path, ramp)
    save(tmp_path / "masks" / "x.png", rows_of_labels())
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match="x.dcm: .*decoded") as error:
        read_dicom(path)
    assert "\n" not in str(error.value)
    path.write_text("hello")
    assert "x.dcm: not a readable" in find_samples(hip, tmp_path).errors[0]
    write_dicom(path, np.stack([ramp, ramp])[:, :, :, None].reshape(60, 40), NumberOfFrames=2)
    dicom = pydicom.dcmread(path)
    dicom.Rows = 30
    dicom.save_as(path)
    with pytest.raises(InputError, match="x.dcm: holds 2 frames"):
        read_dicom(path)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"Rows": 65535, "Columns": 65535}, "65535x65535"),
        ({"SamplesPerPixel": 65535}, "65535 values"),
        ({"Rows": None}, "rows and columns"),
        ({"WindowWidth": float("nan"), "WindowCenter": 1}, "leaves undefined values"),
        ({"RescaleSlope": float("nan"), "RescaleIntercept": 0}, "leaves undefined values"),
        ({"RescaleSlope": 0, "RescaleIntercept": 5}, "slope is 0"),
        ({"HighBit": 15}, "higher bits"),
    ],
)
def test_what_a_header_claims_is_checked_before_pixels_are_decoded(tmp_path, ramp, tags, message):
    write_dicom(tmp_path / "x.dcm", ramp, **tags)
    with pytest.raises(InputError, match=f"x.dcm: .*decoded .*{message}"):
        read_dicom(tmp_path / "x.dcm")


def dcmtk(path, *options):
    """What dcmtk shows of a file, RGB or grey; overlays are left out."""
    if not shutil.which("dcm2pnm"):
        pytest.skip("dcmtk is not installed")
    command = ["dcm2pnm", "--write-png", "--no-overlays", *options, str(path), f"{path}.png"]
    subprocess.run(command, check=True, capture_output=True)
    shown = cv2.imread(f"{path}.png", cv2.IMREAD_UNCHANGED)
    return shown[..., None] if shown.ndim == 2 else shown[..., ::-1]


WIDE = {"WindowCenter": 2000, "WindowWidth": 2500}


@pytest.mark.parametrize(
    ("tags", "option"),
    [
        (WIDE, "+Wi 1"),
        ({**WIDE, "PhotometricInterpretation": "MONOCHROME1"}, "+Wi 1"),
        ({**WIDE, "PresentationLUTShape": "INVERSE"}, "+Wi 1"),
        (
            {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "IDENTITY"},
            "+Wm",
        ),
        ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}, "+Wm"),
        ({"WindowWidth": 2000}, "+Wm"),
        ({"WindowCenter": 2000}, "+Wm"),
        ({"WindowCenter": 2000, "WindowWidth": 0}, "+Wm"),
        ({"PixelPaddingValue": 3900}, "+Wm"),
        ({**WIDE, "PixelPaddingValue": 3900}, "+Wi 1"),
        ({**WIDE, "VOILUTFunction": "SIGMOID"}, "+Wi 1"),
        ({**WIDE, "VOILUTFunction": "LINEAR_EXACT"}, "+Wi 1"),
        ({**WIDE, "VOILUTFunction": ""}, "+Wi 1"),
        ({"WindowCenter": [1000, 2000], "WindowWidth": [500, 900]}, "+Wi 1"),
        ({"RescaleSlope": 2, "RescaleIntercept": -1000, **WIDE}, "+Wi 1"),
        ({"without": ("SamplesPerPixel",)}, "+Wm"),
    ],
)
def test_grey_images_are_shown_as_dcmtk_shows_them(tmp_path, ramp, tags, option):
    path = tmp_path / "a.dcm"
    write_dicom(path, ramp, **tags)
    shown = read_dicom(path)
    assert np.ptp(shown) > 100
    wanted = dcmtk(path, *option.split())
    assert np.abs(shown.astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("bits", [8, 10, 16])
@pytest.mark.parametrize("factor", [1, 20])
def test_tables_of_grey_levels_are_applied_as_dcmtk_does(tmp_path, ramp, bits, factor):
    """Also those of 8 bits with more places than 8 bits count, and values behind the last place."""
    table = pydicom.Dataset()
    table.LUTDescriptor = [3000, 100, bits]
    top = 2**bits - 1
    table.LUTData = np.linspace(top, 0, 3000).round().astype("<u2").tobytes()
    table["LUTData"].VR = "OW"
    values = (factor * ramp.astype("uint32")).astype("uint16" if factor == 1 else "uint32")
    size = 8 * values.itemsize
    stored = {"BitsAllocated": size, "BitsStored": size, "HighBit": size - 1}
    write_dicom(tmp_path / "a.dcm", values, **stored, VOILUTSequence=[table])
    shown = read_dicom(tmp_path / "a.dcm")
    assert np.ptp(shown) > 200
    assert np.abs(shown.astype(int) - dcmtk(tmp_path / "a.dcm", "+Wl", "1")).max() <= 1


@pytest.mark.parametrize(
    ("tags", "start", "entry", "bits"),
    [
        ({"RescaleSlope": 1, "RescaleIntercept": -1024}, -1024, "<u2", 12),
        ({}, 0, "<u1", 8),  # two entries lie in a word
    ],
)
def test_the_first_place_of_a_table_may_be_negative_and_its_entries_bytes(
    tmp_path, ramp, tags, start, entry, bits
):
    table = pydicom.Dataset()
    table.add_new("LUTDescriptor", "US", [4096, start % 2**16, bits])
    levels = np.sqrt(np.linspace(0, 1, 4096)) * (2**bits - 1)
    table.add_new("LUTData", "OW", levels.round().astype(entry).tobytes())
    write_dicom(tmp_path / "a.dcm", ramp, VOILUTSequence=[table], **tags)
    shown = read_dicom(tmp_path / "a.dcm")
    assert np.ptp(shown) > 200
    assert np.abs(shown.astype(int) - dcmtk(tmp_path / "a.dcm", "+Wl", "1")).max() <= 1


def test_a_modality_table_of_12_bits_is_applied_as_dcmtk_does(tmp_path, ramp):
    table = pydicom.Dataset()
    table.add_new("LUTDescriptor", "US", [4096, 0, 12])
    table.add_new("LUTData", "OW", (np.arange(4096) ** 2 // 4096).astype("<u2").tobytes())
    table.ModalityLUTType = "US"
    write_dicom(tmp_path / "a.dcm", ramp, ModalityLUTSequence=[table], **WIDE)
    shown = read_dicom(tmp_path / "a.dcm")
    assert np.ptp(shown) > 200
    assert np.abs(shown.astype(int) - dcmtk(tmp_path / "a.dcm", "+Wi", "1")).max() <= 1


EIGHT = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
COLOUR = {"SamplesPerPixel": 3, "PlanarConfiguration": 0}


@pytest.fixture
def rgb():
    """uint8 (30, 40, 3): a smooth colour image."""
    y, x = np.mgrid[:30, :40]
    return np.stack([6 * x, 8 * y, 255 - 3 * (x + y)], axis=-1).astype("uint8")


def test_ybr_is_converted_once(tmp_path, rgb):
    ybr = convert_color_space(rgb, "RGB", "YBR_FULL")
    tags = {**COLOUR, **EIGHT, "PhotometricInterpretation": "YBR_FULL"}
    write_dicom(tmp_path / "a.dcm", ybr, **tags)
    assert np.abs(read_dicom(tmp_path / "a.dcm").astype(int) - rgb).max() <= 2
    write_dicom(tmp_path / "a.dcm", ybr, **{**tags, "PhotometricInterpretation": "HSV"})
    with pytest.raises(InputError, match="a.dcm: .*HSV"):
        read_dicom(tmp_path / "a.dcm")


@pytest.mark.parametrize(("colour", "reversible"), [("YBR_RCT", True), ("YBR_ICT", False)])
def test_the_colours_of_jpeg_2000(tmp_path, rgb, colour, reversible):
    frame = imagecodecs.jpeg2k_encode(rgb, codecformat="J2K", reversible=reversible, mct=True)
    tags = {**COLOUR, **EIGHT, "PhotometricInterpretation": colour}
    write_dicom(tmp_path / "a.dcm", rgb, JPEG2000Lossless, [frame], **tags)
    assert np.abs(read_dicom(tmp_path / "a.dcm").astype(int) - rgb).max() <= (
        0 if reversible else 3
    )


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_deep_colours(tmp_path, rgb, bits):
    tags = {**COLOUR, "PhotometricInterpretation": "RGB", "BitsStored": bits, "HighBit": bits - 1}
    write_dicom(tmp_path / "a.dcm", rgb.astype("uint16") << (bits - 8), **tags)
    np.testing.assert_array_equal(read_dicom(tmp_path / "a.dcm"), rgb)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_palettes(tmp_path, syntax):
    indices = np.random.default_rng(0).integers(0, 200, (30, 40), dtype="uint8")
    palette = np.random.default_rng(1).integers(0, 65536, (3, 256), dtype="uint16")
    big = syntax == ExplicitVRBigEndian
    tags = {"PhotometricInterpretation": "PALETTE COLOR", **EIGHT}
    for name, values in zip(("Red", "Green", "Blue"), palette, strict=True):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        data = values.astype(">u2" if big else "<u2").tobytes()
        tags[f"{name}PaletteColorLookupTableData"] = data
    write_dicom(tmp_path / "a.dcm", indices, syntax, **tags)
    np.testing.assert_array_equal(read_dicom(tmp_path / "a.dcm"), palette.T[indices] >> 8)
    if not big:  # pydicom's own pipeline takes the words of both for little endian
        wanted = apply_color_lut(indices, pydicom.dcmread(tmp_path / "a.dcm")) >> 8
        np.testing.assert_array_equal(read_dicom(tmp_path / "a.dcm"), wanted)


@pytest.mark.parametrize("count", [255, 256, 4096])
def test_palettes_of_8_bits_for_values_of_16(tmp_path, count):
    """Values behind the last colour have the last."""
    values = np.random.default_rng(0).integers(0, 4500, (30, 40), dtype="uint16")
    palette = np.random.default_rng(1).integers(0, 256, (3, count), dtype="uint8")
    tags = {"PhotometricInterpretation": "PALETTE COLOR", "BitsStored": 16, "HighBit": 15}
    for name, colours in zip(("Red", "Green", "Blue"), palette, strict=True):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [count, 0, 8]
        tags[f"{name}PaletteColorLookupTableData"] = colours.tobytes() + bytes(count % 2)
    write_dicom(tmp_path / "a.dcm", values, **tags)
    shown = read_dicom(tmp_path / "a.dcm")
    np.testing.assert_array_equal(shown, palette.T[np.minimum(values, count - 1)])
    np.testing.assert_array_equal(shown, dcmtk(tmp_path / "a.dcm"))


def test_palettes_of_8_bits_in_the_lower_bytes_of_words(tmp_path):
    indices = np.random.default_rng(0).integers(0, 256, (30, 40), dtype="uint8")
    palette = np.random.default_rng(1).integers(0, 256, (3, 256), dtype="uint8")
    tags = {"PhotometricInterpretation": "PALETTE COLOR", **EIGHT}
    for name, colours in zip(("Red", "Green", "Blue"), palette, strict=True):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 8]
        tags[f"{name}PaletteColorLookupTableData"] = colours.astype("<u2").tobytes()
    write_dicom(tmp_path / "a.dcm", indices, **tags)
    shown = read_dicom(tmp_path / "a.dcm")
    np.testing.assert_array_equal(shown, palette.T[indices])
    np.testing.assert_array_equal(shown, dcmtk(tmp_path / "a.dcm"))


def lossless_jpeg(values):
    return imagecodecs.jpeg8_encode(values, lossless=True, predictor=1, bitspersample=12)


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (JPEGLossless, lossless_jpeg),
        (JPEGLSLossless, imagecodecs.jpegls_encode),
        (HTJ2KLossless, lambda x: imagecodecs.htj2k_encode(x, reversible=True)),
        (JPEG2000Lossless, lambda x: imagecodecs.jpeg2k_encode(x, codecformat="J2K")),
        (JPEGExtended12Bit, lambda x: imagecodecs.jpeg8_encode(x, 100, bitspersample=12)),
    ],
)
def test_compressed_images(tmp_path, ramp, syntax, encode, monkeypatch):
    path = tmp_path / "a.dcm"
    write_dicom(path, ramp, syntax, [encode(ramp)], **WIDE)
    write_dicom(tmp_path / "plain.dcm", ramp, **WIDE)
    exact = read_dicom(tmp_path / "plain.dcm").astype(int)
    assert np.abs(read_dicom(path) - exact).max() <= (1 if syntax == JPEGExtended12Bit else 0)
    # what takes up gigabytes when it is decoded is refused before
    write_dicom(path, ramp[:20], syntax, [encode(ramp)], **WIDE)
    with pytest.raises(InputError, match="a.dcm: .*its header says 40x20"):
        read_dicom(path)


@pytest.mark.parametrize("table", [True, False])
def test_of_a_compressed_cine_the_one_frame_is_read_and_a_cut_one_is_refused(tmp_path, rgb, table):
    frames = [np.roll(rgb[..., 0], k, axis=1) for k in range(5)]
    path, encoded = tmp_path / "a.dcm", [imagecodecs.jpegls_encode(x) for x in frames]
    write_dicom(path, frames[0], JPEGLSLossless, encoded, NumberOfFrames=5, **EIGHT)
    image = pydicom.dcmread(path)
    image.WindowCenter, image.WindowWidth = 128, 256
    image.PixelData = encapsulate(encoded, fragments_per_frame=1 + table, has_bot=table)
    image.save_as(path)
    for k, frame in enumerate(frames):
        np.testing.assert_array_equal(read_dicom(path, k)[..., 0], frame)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="a.dcm: .*missing or cut off"):
        read_dicom(path, 0)


def test_frames_of_a_long_cine_are_read_without_the_others(tmp_path):
    encoded = [imagecodecs.jpegls_encode(np.full((8, 8), 0, "uint8"))] + [bytes(2**20)] * 40
    write_dicom(
        tmp_path / "a.dcm",
        np.zeros((8, 8), "uint8"),
        JPEGLSLossless,
        encoded,
        NumberOfFrames=41,
        **EIGHT,
    )
    tracemalloc.start()
    read_dicom(tmp_path / "a.dcm", 0)
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()


def test_rle_and_deflated(tmp_path, ramp):
    path = tmp_path / "a.dcm"
    write_dicom(path, ramp, **WIDE)
    exact, dataset = read_dicom(path), pydicom.dcmread(path)
    dataset.compress(RLELossless)
    dataset.save_as(path)
    np.testing.assert_array_equal(read_dicom(path), exact)
    write_dicom(path, ramp, DeflatedExplicitVRLittleEndian, PatientID="p", **WIDE)
    np.testing.assert_array_equal(read_dicom(path), exact)
    assert dicom_header(path) == ("p", None)


def test_a_deflated_bomb_is_refused_before_it_is_unpacked(tmp_path, ramp, monkeypatch):
    path = tmp_path / "a.dcm"
    tags = {"TextValue": " " * 2**20}
    write_dicom(path, ramp, DeflatedExplicitVRLittleEndian, **tags)
    assert dicom_header(path) == (None, None)
    monkeypatch.setattr("transfuse_keras.data.dicom.LARGEST_INFLATED", 2**20)
    for read in (read_dicom, dicom_header):
        with pytest.raises(InputError, match="a.dcm: .*too many bytes"):
            read(path)


def test_a_missing_decoder_is_named_with_the_extra_that_brings_it(tmp_path, ramp, monkeypatch):
    path = tmp_path / "a.dcm"
    write_dicom(path, ramp, JPEGLSLossless, [imagecodecs.jpegls_encode(ramp)])

    def fail(*_, **__):
        raise RuntimeError("all plugins are missing dependencies:")

    monkeypatch.setattr("transfuse_keras.data.dicom_pixels.pixel_array", fail)
    monkeypatch.setattr(dicom_decoder, "EXTRA", ("no_such_module",))
    with pytest.raises(InputError, match=r"a.dcm: .*no_such_module.*transfuse-keras\[dicom\]"):
        read_dicom(path)
    monkeypatch.undo()
    write_dicom(path, ramp, MPEG2MPML, [b"12"])
    with pytest.raises(InputError, match="a.dcm: .*MPEG2"):
        read_dicom(path)


def test_what_begins_with_dicm_is_dicom(tmp_path, ramp):
    """Without a suffix, as .ima, and with a TIFF in the 128 bytes before."""
    write_dicom(tmp_path / "a.dcm", ramp)
    content = (tmp_path / "a.dcm").read_bytes()
    wanted = read_dicom(tmp_path / "a.dcm")
    for name in ("IM0001", "b.ima", "1.2.840.3"):
        (tmp_path / name).write_bytes(content)
        assert is_dicom(tmp_path / name)
        np.testing.assert_array_equal(read_dicom(tmp_path / name), wanted)
    (tmp_path / "c.tif").write_bytes(b"II*\0" + content[4:])
    assert is_dicom(tmp_path / "c.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "c.tif", 1), wanted)
    Image.fromarray(wanted[..., 0]).save(tmp_path / "d.tif")
    assert not is_dicom(tmp_path / "d.tif") and not is_dicom(tmp_path / "absent")


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("test-SR.dcm", r"no image \(SR\)"),
        ("waveform_ecg.dcm", r"no image \(ECG\)"),
        ("DICOMDIR", "DICOMDIR"),
        ("no_meta.dcm", "DICM"),
        ("badVR.dcm", "number of frames"),
    ],
)
def test_files_without_an_image_are_told(name, word):
    path = Path(get_testdata_file(name))
    with pytest.raises(InputError, match=word) as error:
        read_dicom(path)
    assert "\n" not in str(error.value) and "attribute" not in str(error.value)


def test_a_frame_is_chosen_and_has_its_own_window(tmp_path, ramp):
    path = Path(get_testdata_file("examples_ybr_color.dcm"))
    assert count_frames(path) == 30
    np.testing.assert_array_equal(read_dicom(path, 7), pixel_array(path, index=7))
    with pytest.raises(InputError, match="holds 30 frames"):
        read_dicom(path)
    frames = []
    for center in (1000, 3000):
        window = pydicom.Dataset()
        window.WindowCenter, window.WindowWidth = center, 1000
        frames.append(pydicom.Dataset())
        frames[-1].FrameVOILUTSequence = [window]
    tags = {"NumberOfFrames": 2, "PerFrameFunctionalGroupsSequence": frames}
    write_dicom(tmp_path / "a.dcm", np.stack([ramp, ramp]), Rows=30, Columns=40, **tags)
    for frame, center in enumerate((1000, 3000)):
        write_dicom(tmp_path / "b.dcm", ramp, WindowCenter=center, WindowWidth=1000)
        found = read_dicom(tmp_path / "a.dcm", frame)
        np.testing.assert_array_equal(found, read_dicom(tmp_path / "b.dcm"))


def test_frames_of_1_bit_that_do_not_begin_at_a_byte(tmp_path):
    frames = np.random.default_rng(0).integers(0, 2, (4, 5, 7), dtype="uint8")
    tags = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "NumberOfFrames": 4}
    bits = np.packbits(frames, bitorder="little")
    write_dicom(tmp_path / "a.dcm", np.resize(bits, (1, 18)), Rows=5, Columns=7, **tags)
    for k, frame in enumerate(frames):
        np.testing.assert_array_equal(read_dicom(tmp_path / "a.dcm", k)[..., 0], 255 * frame)


def test_threads_add_the_decoder_once(monkeypatch):
    added, slow = [], dicom_decoder.get_decoder

    def get_slowly(uid):
        time.sleep(0.01)
        added.append(uid)
        return slow(uid)

    for uid in dicom_decoder.DECODER_DEPENDENCIES:
        if "imagecodecs" in slow(uid).available_plugins:
            slow(uid).remove_plugin("imagecodecs")
    dicom_decoder.add_once.cache_clear()
    monkeypatch.setattr(dicom_decoder, "get_decoder", get_slowly)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: dicom_decoder.add_decoder(), range(8)))
    assert sorted(added) == sorted(dicom_decoder.DECODER_DEPENDENCIES)


def settings():
    """What other libraries of this process go by."""
    levels = nibabel.imageglobals.logger.level, logging.getLogger("pydicom").level
    return list(warnings.filters), Image.MAX_IMAGE_PIXELS, levels


def test_reading_leaves_the_settings_of_other_libraries_as_they_were(tmp_path, ramp):
    """Also when several threads read, and when they are first imported."""
    write_dicom(tmp_path / "a.dcm", ramp)
    before = settings()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read_dicom, [tmp_path / "a.dcm"] * 40))
    assert settings() == before
    with reading():
        assert all(inside != outside for inside, outside in zip(settings(), before, strict=True))
        with reading():
            pass
        assert settings() != before
    assert settings() == before
    code = (
        "import warnings, nibabel; from PIL import Image; import pydicom, numpy, scipy;"
        "f = lambda: (list(warnings.filters), Image.MAX_IMAGE_PIXELS,"
        " nibabel.imageglobals.logger.level);"
        "before = f(); import transfuse_keras.data.dicom, transfuse_keras.data.volumes;"
        "assert f() == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_what_pydicom_logs_of_a_file_that_is_read_is_not_seen(tmp_path, ramp, caplog):
    frame = imagecodecs.jpeg8_encode(ramp, 100, bitspersample=12)  # which Pillow cannot decode
    write_dicom(tmp_path / "a.dcm", ramp, JPEGExtended12Bit, [frame], **WIDE)
    read_dicom(tmp_path / "a.dcm")
    assert not caplog.records


def test_every_image_of_pydicom_is_shown_but_for_the_damaged_ones():
    """benchmarks/dicom_files.py compares them with dcmtk."""
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    refused = set()
    for path in filter(is_dicom, filter(Path.is_file, folder.rglob("*"))):
        try:
            shown = read_dicom(path, 0 if count_frames(path) > 1 else None)
            assert shown.dtype == np.uint8 and shown.shape[2] in (1, 3)
        except InputError as error:
            refused |= {path.name} if "holds no image" not in str(error) else set()
    damaged = {"MR_truncated.dcm", "badVR.dcm", "JPEG2000-embedded-sequence-delimiter.dcm"}
    without_header = {"ExplVR_BigEndNoMeta.dcm", "ExplVR_LitEndNoMeta.dcm", "no_meta.dcm"}
    without_header.add("rtstruct.dcm")
    indices = {name for name in refused if name.startswith("DICOMDIR")}
    masks = {name for name in refused if name.startswith("liver")}  # they are DICOM SEG
    assert len(masks) == 2 and refused == damaged | without_header | indices | masks
