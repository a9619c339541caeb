"""DICOM series as volumes: the slices of a CT or MR scan, sorted by where they lie."""

from collections import defaultdict

import numpy as np

from transfuse_keras.data.dicom import open_image
from transfuse_keras.data.dicom_display import rescale
from transfuse_keras.data.dicom_pixels import decode_values
from transfuse_keras.data.kinds import is_dicom
from transfuse_keras.data.orientation import LPS_TO_RAS, Volume
from transfuse_keras.data.quiet import reading
from transfuse_keras.errors import InputError

UNEQUAL = 0.05  # of the distance of slices, by which distances may differ


def find_series(paths):
    """The series among DICOM files: UID -> tuple of paths; files without an image are left out.

    Returns: the dictionary, and a sentence on each file that was left out.
    """
    series, without = defaultdict(list), []
    for path in paths:
        try:
            series[str(open_image(path).get("SeriesInstanceUID"))].append(path)
        except InputError as error:
            without.append(str(error))
    return {uid: tuple(series[uid]) for uid in sorted(series)}, without


def open_series(source):
    """A Volume of the slices of one series, with only their headers read.

    Args:
        source: a folder with the slices of one series, or a tuple of their paths.

    Raises: InputError if slices are missing, double, turned against one another, or of other sizes.
    """
    slices, affine = sort_slices(source)
    where = source if not isinstance(source, tuple) else source[0].parent
    first = slices[0][1]
    shape = (first.Columns, first.Rows, len(slices), 1)

    def read():
        values = np.empty(shape, "float32")
        for k, (path, header) in enumerate(slices):
            values[:, :, k, 0] = rescale(decode_values(path, header, 0), header).T
        return values

    return Volume(where, shape, affine, True, read)


def sort_slices(source):
    """The slices of a series in the order in which they lie.

    Args, Raises: as of `open_series`.

    Returns: list of (path, header), and the affine of the volume in mm, RAS.
    """
    paths, where = source, source
    if not isinstance(source, tuple):
        series, _ = find_series(sorted(x for x in source.iterdir() if x.is_file() and is_dicom(x)))
        if len(series) != 1:
            raise InputError(f"{source}: holds {len(series)} DICOM series, not one.")
        (paths,) = series.values()
    else:
        where = paths[0].parent
    headers = [open_image(path) for path in paths]
    with reading():
        try:
            order, affine = place_slices(headers)
        except Exception as error:
            raise InputError(f"{where}: its DICOM series is no volume: {error}.") from error
    return [(paths[i], headers[i]) for i in order], affine


def place_slices(headers):
    """The order of slices along their normal, and the affine of the volume in mm, RAS.

    Raises: ValueError with what is wrong with the series; others for damaged attributes.
    """
    if len(headers) < 2:
        raise ValueError("it has a single slice; give the folder of all its slices")
    if any(int(x.get("NumberOfFrames") or 1) > 1 for x in headers):
        raise ValueError("it holds several frames a file; convert it to NIfTI with dcm2niix")
    if any(x.get("SamplesPerPixel", 1) != 1 for x in headers):
        raise ValueError("it is in colour")
    if any(x.get("PhotometricInterpretation") == "MONOCHROME1" for x in headers):
        # ITK inverts such values, others take them as they are
        raise ValueError("white is 0 in it (MONOCHROME1); convert it to NIfTI with dcm2niix")
    if len({(x.Rows, x.Columns) for x in headers}) > 1:
        raise ValueError("its slices differ in size")
    turns = numbers(headers, "ImageOrientationPatient", 6)
    spacings = numbers(headers, "PixelSpacing", 2)
    if np.ptp(turns, axis=0).max() > 1e-3 or np.ptp(spacings, axis=0).max() > 1e-3:
        raise ValueError("its slices differ in orientation or spacing")
    along_row, along_column = turns[0].reshape(2, 3)
    normal = np.cross(along_row, along_column)
    positions = numbers(headers, "ImagePositionPatient", 3)
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    steps = np.diff(positions, axis=0)
    distances = steps @ normal
    if distances.min() < 1e-3:
        raise ValueError("several slices lie at one place (times, echoes or b-values?)")
    if np.ptp(distances) > UNEQUAL * np.median(distances):
        raise ValueError(
            f"slices are missing or unequally spaced ({distances.min():g} to "
            f"{distances.max():g} mm)"
        )
    if np.abs(steps - distances[:, None] * normal).max() > UNEQUAL * np.median(distances):
        raise ValueError("its slices lie obliquely behind one another (a tilted gantry?)")
    affine = np.eye(4)
    row_spacing, column_spacing = spacings[0]
    affine[:3, 0] = along_row * column_spacing
    affine[:3, 1] = along_column * row_spacing
    affine[:3, 2] = (positions[-1] - positions[0]) / (len(headers) - 1)
    affine[:3, 3] = positions[0]
    return order, LPS_TO_RAS @ affine


def numbers(headers, name, count):
    """An attribute of all slices, float64 (slices, count); ValueError where it is missing."""
    found = [list(header.get(name) or ()) for header in headers]
    if any(len(values) != count for values in found):
        raise ValueError(f"not every slice has its {name}")
    return np.array(found, "float64")
