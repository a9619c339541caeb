"""MetaImage and NRRD volumes (SimpleITK, the extra `itk`)."""

import numpy as np

from transfuse_keras.data.orientation import LPS_TO_RAS, Volume
from transfuse_keras.errors import InputError

UNPLACED = (
    "names no space: its axes are taken to run to the left, posterior and superior, as ITK takes "
    "them, and spacings that it lacks are 1 mm"
)


def open_volume(path):
    """A Volume with only its header read; components of a voxel, or a fourth axis, are channels.

    Raises: InputError without SimpleITK, RuntimeError if the file is damaged, ValueError if it is
    no such volume.
    """
    try:
        import SimpleITK
    except ImportError:
        raise InputError(
            f"{path}: needs SimpleITK; pip install 'transfuse-keras[itk]', or save it as .nii.gz."
        ) from None
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    size, components = reader.GetSize(), reader.GetNumberOfComponents()
    if len(size) not in (3, 4) or (len(size) == 4 and components > 1):
        raise ValueError(f"its shape is {(*size, components)}")
    if "complex" in SimpleITK.GetPixelIDValueAsString(reader.GetPixelID()):
        raise ValueError("its values are complex")
    shape = (*size[:3], components if len(size) == 3 else size[3])

    def read():
        values = SimpleITK.GetArrayFromImage(reader.Execute())  # z, y, x and channels
        values = np.moveaxis(values, 0, -1) if len(size) == 4 else values.reshape(*size[::-1], -1)
        return values.swapaxes(0, 2).astype("float32")

    directions = np.reshape(reader.GetDirection(), (len(size),) * 2)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = directions * reader.GetSpacing()[:3]
    affine[:3, 3] = reader.GetOrigin()[:3]
    # MetaImage has values for what is not given, NRRD has none
    placed = path.suffix.lower() in (".mha", ".mhd") or reader.HasMetaDataKey("NRRD_space")
    return Volume(path, shape, LPS_TO_RAS @ affine, placed, read, doubt="" if placed else UNPLACED)
