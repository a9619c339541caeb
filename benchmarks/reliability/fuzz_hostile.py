"""Images and volumes made to hurt: headers that claim, and bombs that unpack to, gigabytes."""

import gzip
import io
import struct
import zlib

from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian

from benchmarks.reliability.fuzz_mutations import with_checksums
from benchmarks.reliability.fuzz_seeds import (
    dicom_file,
    grey,
    jpeg,
    nifti,
    png,
    tiff,
)

ZEROS = 2**24  # bytes that the bombs are made of
DEEP = b"[" * 200_000
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n"


def huge_png(width, height):
    content = bytearray(png()[0])
    content[16:24] = struct.pack(">II", width, height)
    return with_checksums(bytes(content))


def png_of_text():
    """A compressed comment of 128 MiB."""
    text = zlib.compress(bytes(2**27), 1)
    chunk = b"zTXt" + b"a\0\0" + text
    size = struct.pack(">I", len(chunk) - 4)
    start = 8 + 12 + 13  # behind IHDR
    content = png()[0]
    return with_checksums(content[:start] + size + chunk + bytes(4) + content[start:])


def hostile_png():
    sizes = ((60_000, 60_000), (2**31 - 1, 2**31 - 1), (2**28, 1), (0, 10))
    return [*(huge_png(*size) for size in sizes), png_of_text(), POSTSCRIPT]


def huge_jpeg():
    content = bytearray(jpeg()[0])
    start = content.index(b"\xff\xc0")
    content[start + 5 : start + 9] = struct.pack(">HH", 65_500, 65_500)
    return bytes(content)


def jpeg_of_scans():
    """A progressive image of 12000 x 12000 whose last scan is repeated 20000 times."""
    content = bytearray(jpeg()[1])
    start = content.index(b"\xff\xc2")
    content[start + 5 : start + 9] = struct.pack(">HH", 12_000, 12_000)
    last = content.rindex(b"\xff\xda")
    return bytes(content[:-2] + content[last:-2] * 20_000 + content[-2:])


def hostile_jpeg():
    return [huge_jpeg(), jpeg_of_scans(), POSTSCRIPT]


def tiff_with(seed, **changes):
    """A TIFF file with other numbers in the tags ImageWidth, ImageLength ..."""
    tags = {"width": 256, "height": 257, "rows": 278, "bits": 258, "samples": 277}
    content = bytearray(tiff()[seed])
    (start,) = struct.unpack("<I", content[4:8])
    (count,) = struct.unpack("<H", content[start : start + 2])
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        (tag,) = struct.unpack("<H", content[entry : entry + 2])
        for name, value in changes.items():
            if tag == tags[name]:
                content[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, value)
    return bytes(content)


def hostile_tiff():
    changes = (
        {"width": 60_000, "height": 60_000},
        {"width": 2**31, "height": 2**31},
        {"width": 2**28 - 1, "height": 1},
        {"rows": 2**31 - 1},
        {"samples": 65_535},
    )
    return [*(tiff_with(seed, **change) for seed in (0, 1) for change in changes), POSTSCRIPT]


def nifti_with(dims, voxels=b"", **fields):
    """A NIfTI header of these dimensions and what follows it."""
    content = bytearray(nifti()[1][:352])
    content[40 : 40 + 2 * (len(dims) + 1)] = struct.pack(f"<{len(dims) + 1}h", len(dims), *dims)
    places = {"datatype": (70, "<h"), "offset": (108, "<f"), "slope": (112, "<f")}
    for name, value in fields.items():
        place, kind = places[name]
        content[place : place + struct.calcsize(kind)] = struct.pack(kind, value)
    return bytes(content) + voxels


def hostile_nifti():
    """Of each a plain file; `packed` makes gzip files of them, and bombs."""
    few = bytes(4 * 8**3)
    return [
        nifti_with((32_767, 32_767, 32_767)),
        nifti_with((32_767, 32_767, 1)),
        nifti_with((-8, 8, 8), few),
        nifti_with((0, 8, 8), few),
        nifti_with((8, 8, 8, 0), few),
        nifti_with((32_767,) * 7),
        nifti_with((8, 8, 8), few, offset=float("nan")),
        nifti_with((8, 8, 8), few, offset=1e18),
        nifti_with((8, 8, 8), few, slope=float("nan")),
        nifti_with((8, 8, 8), few, slope=1e38),
        nifti_with((8, 8, 8), few, datatype=1792),  # complex
        nifti_with((8, 8, 8), few, datatype=128),  # RGB
    ]


def packed_nifti():
    bomb = gzip.compress(bytes(ZEROS)) * 512  # 8 GiB
    headers = ((32_767, 32_767, 32_767), (2048, 2048, 512))
    bombs = [gzip.compress(nifti_with(dims)) + bomb for dims in headers]
    return [*bombs, *(gzip.compress(content) for content in hostile_nifti())]


def deflated_dicom(size):
    """A DICOM file in the deflated transfer syntax that unpacks to `size` bytes."""
    content = dicom_file(grey().astype("uint16"), syntax=DeflatedExplicitVRLittleEndian)
    file = io.BytesIO(content)
    read_preamble(file, force=False)
    _read_file_meta_info(file)
    head = file.tell()
    plain = zlib.decompress(content[head:], -zlib.MAX_WBITS)
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = bytes(ZEROS)
    # a last element of unknown meaning, as long as the bomb is
    element = struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, size)
    parts = [packer.compress(plain + element)]
    parts += [packer.compress(zeros) for _ in range(size // ZEROS)]
    return content[:head] + b"".join(parts) + packer.flush()


def nested_dicom(depth=3000):
    """Sequences within sequences, of undefined length."""
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    sequence = struct.pack("<HH2sHI", 0x0040, 0x0555, b"SQ", 0, 0xFFFFFFFF)
    return dicom_file(grey().astype("uint16"))[:-16] + (sequence + item) * depth


def hostile_dicom():
    values = grey().astype("uint16")
    tags = (
        {"Rows": 65_535, "Columns": 65_535},
        {"NumberOfFrames": 2**31 - 1},
        {"Rows": 65_535, "Columns": 65_535, "NumberOfFrames": 2**31 - 1},
        {"SamplesPerPixel": 65_535},
        {"Rows": 0},
        {"WindowWidth": float("nan")},
        {"WindowWidth": [], "WindowCenter": []},
        {"RescaleSlope": 1e308, "RescaleIntercept": 1e308},
        {"RescaleSlope": float("nan")},
        {"VOILUTSequence": Sequence([])},
        {"PixelSpacing": [1e308, float("nan")]},
    )
    return [
        *(dicom_file(values, **change) for change in tags),
        deflated_dicom(2**26),
        deflated_dicom(2**29),
        nested_dicom(),
    ]
