"""Areas, diameters and volumes of what was predicted, as rows of a table."""

from transfuse_keras.data.kinds import is_dicom
from transfuse_keras.data.quiet import reading
from transfuse_keras.errors import InputError
from transfuse_keras.metrics.sizes import measure_plane, measure_volume

MEASUREMENTS = "measurements.csv"
SIZE_NAMES = ("parts", "area", "longest", "perpendicular", "volume")
DIGITS = 4  # less than a micrometre, far below what an image shows
WHOLE = "all"  # slices


def measure_masks(item, masks, spacing, task):
    """Rows for the masks of an Input.

    Args:
        item: Input.
        masks: 0/1 (H, W, M) of an image, or (D, H, W, M) of a volume.
        spacing: of a volume, (slice, row, column) in mm; of an image None: it is read.
        task: Task.

    Returns: list of dicts: "name"; "slice" of a volume, from 1, or WHOLE; "class"; SIZE_NAMES as of
    `metrics.sizes`, empty where there is none; "unit"; and "scale", which tells where the size of a
    pixel is from. An image has a row for each class; a volume has one, too, and one for each slice
    that shows the class.

    Raises: InputError if the size of a pixel in a DICOM file is damaged, or not told where pixels
    are not square.
    """
    scale, pixel = ("header", spacing[1:]) if task.field is not None else read_scale(item)
    rows = []
    for k, name in enumerate(task.classes):
        if task.field is not None:
            whole, slices = measure_volume(masks[..., k], spacing)
            found = {WHOLE: whole, **slices}
        else:
            found = {"": measure_plane(masks[..., k], pixel or (1.0, 1.0))}
        for number, sizes in found.items():
            rounded = {x: round(sizes[x], DIGITS) if x in sizes else "" for x in SIZE_NAMES}
            where = {"name": item.name, "slice": number, "class": name}
            rows.append({**where, **rounded, "unit": "mm" if pixel else "px", "scale": scale})
    return rows


def read_scale(item):
    """`find_scale` of an Input that is an image; only DICOM tells the size of a pixel."""
    path = item.files[0]
    if not is_dicom(path):
        return "none", None
    from transfuse_keras.data.dicom import open_dicom  # and pydicom, which takes seconds

    return find_scale(open_dicom(path), path, item.frame or 0)


def find_scale(header, path, frame=0):
    """Where the size of a pixel is from, and the size, (row, column) in mm; ("none", None) where
    a DICOM header does not tell it of the frame. InputError if it is damaged.

    ImagerPixelSpacing is that at the detector, where all is larger than in the patient. By PS3.3
    10.7.1.1 a PixelSpacing that equals it was not corrected for that.
    """
    from transfuse_keras.data.dicom import frame_attributes

    with reading():
        own = frame_attributes(header, frame)
        for name in ("PixelSpacing", "ImagerPixelSpacing"):
            spacing = own.get(name) or header.get(name)
            if not spacing:
                continue
            try:
                row, column = map(float, spacing)
            except (TypeError, ValueError):
                row = column = 0
            if not (0 < row < float("inf") and 0 < column < float("inf")):
                raise InputError(f"{path}: its {name} is damaged, so its sizes are unknown.")
            corrected = header.get("PixelSpacingCalibrationType")
            if header.get("ImagerPixelSpacing") == [row, column] and not corrected:
                name = "ImagerPixelSpacing"
            return name, (row, column)
        if not has_square_pixels(header):
            raise InputError(
                f"{path}: its pixels are not square by its PixelAspectRatio, and it tells no "
                "PixelSpacing, so its sizes are unknown."
            )
    return "none", None


def has_square_pixels(header):
    """Whether the pixels are square; PS3.3 C.7.6.3 asks for PixelAspectRatio only where they are
    not and where their size is not told."""
    try:
        vertical, horizontal = map(float, header.get("PixelAspectRatio") or (1, 1))
    except (TypeError, ValueError):  # damaged
        return False
    return vertical == horizontal
