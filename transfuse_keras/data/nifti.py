"""NIfTI files (nibabel)."""

import nibabel
import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.spatialimages import HeaderDataError

from transfuse_keras.data.orientation import Volume, find_ras_turn
from transfuse_keras.files import replacing

UNPLACED = (
    "does not say how it lies in space: its axes are taken to run to the right, anterior and "
    "superior"
)
TWO_WAYS = "its qform turns its axes otherwise than its sform, which is taken"


def open_volume(path):
    """A Volume with only its header read.

    A fourth axis, or a fifth behind a fourth of length 1, as SimpleITK writes it, is that of the
    channels.

    Raises: many kinds of exceptions if the file is damaged, ValueError if it is no such volume.
    """
    file = nibabel.load(path)
    if not isinstance(file, nibabel.Nifti1Pair):  # NIfTI-2 and single files are kinds of it
        raise ValueError("it is ANALYZE, which does not tell left from right; save it as .nii.gz")
    shape = file.shape
    if len(shape) == 5 and shape[3] == 1:
        shape = (*shape[:3], shape[4])
    if len(shape) not in (3, 4) or not all(shape):
        raise ValueError(f"its shape is {file.shape}")
    kind = file.get_data_dtype()
    if kind.kind not in "biuf" or kind.itemsize > 8:
        raise ValueError(f"its values are {kind}")
    shape = shape if len(shape) == 4 else (*shape, 1)
    unit = file.header.get_xyzt_units()[0]
    if unit in ("meter", "micron"):  # most files name none, and mean mm
        raise ValueError(f"its spacing is in the unit {unit}, not mm")
    zooms = file.header.get_zooms()[:3]
    codes = [file.header[f"{name}_code"] > 0 for name in ("qform", "sform")]
    placed = any(codes)
    affine = file.affine if placed else np.diag([*zooms, 1.0])
    if placed and not np.allclose(voxel_sizes(affine), zooms, rtol=0.01):
        raise ValueError(f"its spacing is {zooms} by pixdim, another by its sform")
    return Volume(
        path,
        shape,
        affine,
        placed,
        lambda: np.asarray(file.dataobj, "float32").reshape(shape, order="F"),
        file.header,
        UNPLACED if not placed else TWO_WAYS if all(codes) and differ(file.header) else "",
    )


def differ(header):
    """Whether the qform and the sform of a header exchange or mirror axes in different ways."""
    try:
        return bool((find_ras_turn(header.get_qform()) != find_ras_turn(header.get_sform())).any())
    except (HeaderDataError, ValueError):  # a damaged qform leaves no choice
        return False


def save_values(values, volume, path):
    """Write values (X, Y, Z) or (X, Y, Z, M) on the grid of a Volume as NIfTI.

    A NIfTI header is kept, with its orientation, codes and units.
    """
    if volume.header is None:
        image = nibabel.Nifti1Image(values, volume.affine)
        image.header.set_xyzt_units("mm")
        image.set_qform(volume.affine, "scanner")
        image.set_sform(volume.affine, "scanner")
    else:
        header = volume.header.copy()
        # what speaks of the values of the image
        header["cal_min"] = header["cal_max"] = 0
        header.set_intent("none")
        header.extensions.clear()
        header.set_data_dtype(values.dtype)
        kind = nibabel.Nifti2Image if header.sizeof_hdr == 540 else nibabel.Nifti1Image
        image = kind(values, None, header)
    with replacing(path) as temporary:
        nibabel.save(image, temporary)
