"""What kind of file a path is, by its name or first bytes; no library that reads it is needed."""

PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".jp2"}
DICOM = {".dcm", ".dicom", ".ima"}
IMAGES = PICTURES | DICOM
NIFTI = (".nii", ".nii.gz", ".hdr", ".img")
ITK = (".mha", ".mhd", ".nrrd", ".nhdr")
VOLUMES = (*NIFTI, *ITK)


def is_dicom(path):
    """Whether a file is DICOM by its suffix, or, whatever it is called, by its first bytes."""
    if path.suffix.lower() in DICOM:
        return True
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def is_volume(path):
    """Whether a file is a volume by its name."""
    return path.name.lower().endswith(VOLUMES)


def strip_suffix(path):
    """The name of a volume without .nii.gz, .mha ..."""
    # the longest ending is the whole of it
    ending = max((x for x in VOLUMES if path.name.lower().endswith(x)), key=len, default="")
    return path.name[: len(path.name) - len(ending)]
