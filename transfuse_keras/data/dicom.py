"""DICOM radiographs (pydicom)."""

import warnings

import numpy as np
import pydicom
from pydicom.filereader import read_file_meta_info
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import DeflatedExplicitVRLittleEndian

from transfuse_keras.errors import InputError

# what pydicom says of a damaged file comes in the one sentence of ours, or does not matter
warnings.filterwarnings("ignore", module="pydicom")

SUFFIXES = {".dcm", ".dicom"}
# pixels, 8192 x 8192, twice those of the largest radiographs: while they are windowed each takes
# dozens of bytes
LARGEST = 2**26


def is_dicom(path):
    return path.suffix.lower() in SUFFIXES


def open_dicom(path, pixels=True):
    """A DICOM file as a pydicom Dataset; InputError if it is none."""
    try:
        if read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            raise ValueError("it is deflated, so may unpack to any size")
        return pydicom.dcmread(path, stop_before_pixels=not pixels)
    except Exception as error:
        raise InputError(
            f"{path}: not a readable DICOM file ({first_line(error)}); replace or remove it."
        ) from error


def read_dicom(path):
    """The pixels of a DICOM image as they are shown: rescaled, windowed, MONOCHROME1 inverted.

    Without a window, the range of the image's own values is shown.

    Returns: uint8 (H, W, 1), or (H, W, 3) of a colour image.

    Raises: InputError if the file cannot be decoded, or holds several frames.
    """
    dicom = open_dicom(path)
    try:
        if int(dicom.get("NumberOfFrames", 1) or 1) > 1:
            raise ValueError("it holds several frames")
        if dicom.Rows * dicom.Columns > LARGEST:
            raise ValueError(f"it claims {dicom.Columns}x{dicom.Rows} pixels")
        if dicom.SamplesPerPixel not in (1, 3):
            raise ValueError(f"it has {dicom.SamplesPerPixel} values a pixel")
        values = dicom.pixel_array
        if dicom.SamplesPerPixel == 3:
            colour = dicom.PhotometricInterpretation
            if colour != "RGB":
                values = pydicom.pixels.convert_color_space(values, colour, "RGB")
            return values.astype("uint8")
        values = apply_voi_lut(apply_modality_lut(values, dicom), dicom).astype("float64")
        low, high = (float(x) for x in shown_range(dicom, values))
        if not np.isfinite([low, high]).all() or not np.isfinite(values).all():
            raise ValueError("its rescaling or window leaves undefined values")
        inverted = dicom.PhotometricInterpretation == "MONOCHROME1"
    except Exception as error:
        raise InputError(f"{path}: its pixels cannot be decoded ({first_line(error)}).") from error
    shown = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    if inverted:
        shown = 1 - shown
    return np.round(255 * shown).astype("uint8")[..., None]


def shown_range(dicom, values):
    """(black, white) of the values that `apply_voi_lut` gives."""
    if dicom.get("VOILUTSequence"):
        return 0, 2 ** dicom.VOILUTSequence[0].LUTDescriptor[2] - 1
    if dicom.get("WindowWidth"):
        return apply_voi_lut(np.array([-1e9, 1e9]), dicom)  # far out on both sides of the window
    return values.min(), values.max()


def dicom_header(path):
    """Patient and pixel spacing of a DICOM image.

    Returns: (PatientID or None, (row, column) in mm or None).

    Raises: InputError if the file is no DICOM file, or these tags are damaged.
    """
    dicom = open_dicom(path, pixels=False)
    try:
        spacing = dicom.get("PixelSpacing") or dicom.get("ImagerPixelSpacing")
        patient = str(dicom.get("PatientID") or "").strip()
        return patient or None, tuple(float(mm) for mm in spacing) if spacing else None
    except Exception as error:
        raise InputError(
            f"{path}: its patient or pixel spacing cannot be read ({first_line(error)})."
        ) from error


def first_line(error):
    return str(error).strip().partition("\n")[0] or type(error).__name__
