"""DICOM images (pydicom): their header, and a frame as it is shown."""

import zlib
from contextlib import contextmanager

import pydicom
from pydicom.encaps import get_frame
from pydicom.errors import InvalidDicomError
from pydicom.filereader import _read_file_meta_info, read_file_meta_info, read_preamble
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    MediaStorageDirectoryStorage,
    SegmentationStorage,
)

from transfuse_keras.data.dicom_decoder import add_decoder, check_size, missing_packages
from transfuse_keras.data.dicom_display import has_voi_lut, has_window, is_grey, rescale, show_frame
from transfuse_keras.data.quiet import reading
from transfuse_keras.errors import InputError, first_line

SEGMENTATIONS = {SegmentationStorage, "1.2.840.10008.5.1.4.1.1.66.7"}  # the second: label maps
# pixels, 8192 x 8192, twice those of the largest radiographs: while they are windowed each takes
# dozens of bytes
LARGEST_FRAME = 2**26
FRAME_GROUPS = (
    *("FrameVOILUTSequence", "PixelValueTransformationSequence"),
    *("PixelMeasuresSequence", "PlaneOrientationSequence", "PlanePositionSequence"),
)
LARGEST_INFLATED = 2**28  # bytes that a deflated file may unpack to


def open_dicom(path):
    """The header of a DICOM file as a pydicom Dataset; InputError if it is none."""
    with reading():
        try:
            meta = read_file_meta_info(path)
            if meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
                raise InputError(
                    f"{path}: is a DICOMDIR, a list of other files; give the folder of the images."
                )
            deflated = meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
            if deflated:
                check_inflated_size(path)
            return pydicom.dcmread(path, stop_before_pixels=not deflated)
        except InputError:
            raise
        except InvalidDicomError as error:
            raise InputError(
                f"{path}: not a readable DICOM file (the letters DICM are missing at byte 128); "
                "write it anew, as dcmconv does, or remove it."
            ) from error
        except Exception as error:
            raise InputError(
                f"{path}: not a readable DICOM file ({name_fault(error)}); replace or remove it."
            ) from error


def check_inflated_size(path):
    """Raise ValueError if a deflated file unpacks to too much."""
    with path.open("rb") as file:
        read_preamble(file, force=False)
        _read_file_meta_info(file)
        data = file.read()
    unpacker, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while data and size <= LARGEST_INFLATED:
        size += len(unpacker.decompress(data, 2**24))
        data = unpacker.unconsumed_tail
    if size > LARGEST_INFLATED:
        raise ValueError("it unpacks to too many bytes")


def count_frames(path):
    """Number of frames of a DICOM file, 1 for most; InputError if it holds no image."""
    return frames_in(open_image(path), path)


def open_image(path):
    """The header of a DICOM file that holds an image; InputError if it holds none."""
    header = open_dicom(path)
    if "Rows" not in header or "Columns" not in header:
        kind = header.get("Modality") or getattr(header.get("SOPClassUID"), "name", "")
        raise InputError(f"{path}: holds no image{f' ({kind})' if kind else ''}; take it out.")
    if header.get("SOPClassUID") in SEGMENTATIONS:
        raise InputError(f"{path}: is a DICOM SEG, masks of other files; take it out.")
    return header


def frames_in(header, path):
    with reading():
        try:
            return max(1, int(header.get("NumberOfFrames") or 1))
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}: its number of frames is damaged.") from error


def read_dicom(path, frame=None, value_range=None):
    """A DICOM image as it is shown: rescaled, windowed, with its colours, inverted where it says.

    Args:
        path: Path of the file.
        frame: which one of several, from 0; None for a file with a single one.
        value_range: (low, high) that is shown of a grey image without a usable window; None is
            the range of its own values, padding included.

    Returns: uint8 (H, W, 1), or (H, W, 3) of a colour image.

    Raises: InputError if the file cannot be decoded, or holds several frames and none is chosen.
    """
    header = open_image(path)
    count = frames_in(header, path)
    if frame is None and count > 1:
        raise InputError(
            f"{path}: holds {count} frames; save each with a mask of its own as a single image."
        )
    with decoding(path):
        header.update(frame_attributes(header, frame or 0))
        return show_frame(decode_values(path, header, frame or 0), header, value_range)


@contextmanager
def decoding(path):
    """Turn any error of decoding into an InputError, quietly."""
    with reading():
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"{path}: its pixels cannot be decoded ({name_fault(error)})."
            ) from error


def lacks_window(path):
    """Whether a file is a grey image whose (first frame's) window cannot be used; False if it
    cannot be read."""
    try:
        header = open_image(path)
        header.update(frame_attributes(header, 0))
        return is_grey(header) and not has_voi_lut(header) and not has_window(header)
    except Exception:  # whoever reads the file tells what is wrong with it
        return False


def read_unwindowed(path):
    """The values of the (first) frame of a grey image, rescaled and not windowed: (H, W)."""
    header = open_image(path)
    with decoding(path):
        header.update(frame_attributes(header, 0))
        return rescale(decode_values(path, header, 0), header)


def frame_attributes(header, frame):
    """Window, rescaling and place of a frame, which enhanced images keep in functional groups."""
    found = pydicom.Dataset()
    groups = [header.get(f"{name}FunctionalGroupsSequence") for name in ("Shared", "PerFrame")]
    shared, per_frame = groups[0] or [], groups[1] or []
    for group in (*shared[:1], *per_frame[frame : frame + 1]):
        for name in FRAME_GROUPS:
            for item in group.get(name) or ():
                found.update(item)
    return found


def decode_values(path, header, frame):
    """The values of a frame: (H, W), or (H, W, 3) of RGB.

    Raises: InputError if a decoder is missing; else what pydicom raises for damaged files.
    """
    samples = header.get("SamplesPerPixel") or 1  # dcmtk, too, takes a missing one for 1
    if not (header.Rows and header.Columns):
        raise ValueError("it does not tell its numbers of rows and columns")
    if header.Rows * header.Columns > LARGEST_FRAME:
        raise ValueError(f"it claims {header.Columns}x{header.Rows} pixels")
    if samples not in (1, 3):
        raise ValueError(f"it has {samples} values a pixel")
    syntax, colour = header.file_meta.get("TransferSyntaxUID"), header.PhotometricInterpretation
    if syntax is None:
        raise ValueError("it does not say how they are encoded")
    if not syntax.is_encapsulated and header.get("HighBit", 0) >= header.get("BitsStored", 64):
        raise ValueError("its values lie in higher bits than the lowest")  # pydicom takes these
    add_decoder()
    # a deflated file has been unpacked with its header; of other plain ones only the frame is read
    source = header if syntax == DeflatedExplicitVRLittleEndian else path
    if syntax.is_encapsulated:
        source = pydicom.dcmread(path)
        if "PixelData" not in source:
            raise ValueError("they are missing or cut off")
        count = frames_in(header, path)
        encoded = get_frame(source.PixelData, frame, number_of_frames=count)
        check_size(encoded, (header.Rows, header.Columns))
    try:
        values = decode_frame(source, header, frame, samples_per_pixel=samples)
    except (NotImplementedError, RuntimeError) as error:
        if not syntax.is_encapsulated:
            raise
        raise InputError(f"{path}: {explain(syntax, error)}") from error
    converted = {"RGB", "YBR_FULL", "YBR_FULL_422"}
    if syntax in JPEG2000TransferSyntaxes:
        converted |= {"YBR_ICT", "YBR_RCT"}
    if samples == 3 and colour not in converted:
        raise ValueError(f"its colours are {colour}")
    return values


def decode_frame(source, header, frame, **options):
    """A frame as pydicom's `pixel_array` decodes it of `source`."""
    if header.BitsAllocated == 1 and header.Rows * header.Columns % 8:
        # pydicom 3.0 reads such a frame alone a byte too short
        values = pixel_array(source, **options).reshape(-1, header.Rows, header.Columns)
        return values[frame]
    return pixel_array(source, index=frame, **options)


def explain(syntax, error):
    """Why compressed pixels could not be decoded, and what helps."""
    try:
        get_decoder(syntax)
    except NotImplementedError:
        return f"is compressed as {syntax.name}, which is not read; unpack it with dcmdjpeg."
    if missing := missing_packages():
        return (
            f"is compressed as {syntax.name}, which needs {', '.join(missing)}; "
            "pip install 'transfuse-keras[dicom]'."
        )
    return f"its pixels cannot be decoded ({syntax.name}: {last_line(error)})."


def dicom_header(path):
    """Patient and pixel spacing of a DICOM image.

    Returns: (PatientID or None, (row, column) in mm or None).

    Raises: InputError if the file is no DICOM file, or these tags are damaged.
    """
    header = open_dicom(path)
    with reading():
        try:
            own = frame_attributes(header, 0).get("PixelSpacing")
            spacing = own or header.get("PixelSpacing") or header.get("ImagerPixelSpacing")
            patient = str(header.get("PatientID") or "").strip()
            return patient or None, tuple(float(mm) for mm in spacing) if spacing else None
        except Exception as error:
            raise InputError(
                f"{path}: its patient or pixel spacing cannot be read ({name_fault(error)})."
            ) from error


def name_fault(error):
    if isinstance(error, AttributeError) and error.name:
        return f"it lacks {error.name}"
    return first_line(error)


def last_line(error):
    """pydicom names the decoders that failed, one a line."""
    return str(error).strip().splitlines()[-1].strip() if str(error).strip() else name_fault(error)
