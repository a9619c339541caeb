"""DICOM images (pydicom): their header, and a frame as it is shown."""

import zlib
from contextlib import contextmanager

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.filereader import _read_file_meta_info, read_file_meta_info, read_preamble
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    SegmentationStorage,
)

from transfuse_keras.data.dicom_display import has_voi_lut, has_window, is_grey, rescale, show_frame
from transfuse_keras.data.dicom_pixels import decode_values, name_fault
from transfuse_keras.data.quiet import reading
from transfuse_keras.errors import InputError

SEGMENTATIONS = {SegmentationStorage, "1.2.840.10008.5.1.4.1.1.66.7"}  # the second: label maps
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
