"""Image and mask files as arrays."""

import warnings

import numpy as np
from PIL import Image, ImageOps

from transfuse_keras.data.dicom import is_dicom, read_dicom
from transfuse_keras.errors import InputError

LARGEST = 2**28  # pixels, 16384 x 16384: what claims more is refused before it is decoded
MOST_SCANS = 2**32  # pixels times scans of a progressive JPEG: each scan goes over all pixels
# only these: Pillow would start Ghostscript for PostScript, whatever a file is called
IMAGE_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000")
CHUNK = 2**20  # pixels that are converted at a time
JPEG = {".jpg", ".jpeg"}

# what Pillow says of a damaged file comes in the one sentence of ours, or does not matter
warnings.filterwarnings("ignore", module=r"PIL\.")
Image.MAX_IMAGE_PIXELS = LARGEST // 2  # Pillow warns of more, and refuses twice as many


def read_image(path, channels=3):
    """Read a PNG, JPEG, TIFF, BMP or DICOM image.

    EXIF rotation is carried out, transparency dropped. Deeper images are divided by the range of
    the smallest of 8, 10, 12, 14 and 16 bits that holds their largest value.

    Returns: uint8 (H, W, channels); RGB, or grayscale in equal channels.

    Raises: InputError if the file cannot be decoded as a whole.
    """
    if is_dicom(path):
        pixels = read_dicom(path)
    else:
        picture = decode(path, "image")
        if picture.mode == "F" or picture.mode.startswith("I"):
            pixels = to_8_bits(np.asarray(picture), path)[..., None]
        else:
            mode = "L" if picture.mode in ("1", "L", "LA") else "RGB"
            pixels = np.atleast_3d(np.asarray(picture.convert(mode)))
    if channels == 1 and pixels.shape[2] == 3:
        return np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    return np.repeat(pixels, channels, axis=2) if pixels.shape[2] == 1 < channels else pixels


def decode(path, what):
    """A file as a Pillow image, decoded and upright."""
    remedy = "replace it or take out its image too" if what == "mask" else "replace or remove it"
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as picture:
            pixels = picture.width * picture.height
            if pixels > LARGEST:
                raise InputError(
                    f"{path}: claims {picture.width}x{picture.height} pixels, too many to decode."
                )
            # a start of scan is nothing else in compressed data
            if picture.format in ("JPEG", "MPO"):
                scans = path.read_bytes().count(b"\xff\xda")
                if pixels * scans > MOST_SCANS:
                    raise InputError(f"{path}: has {scans} scans, too many to decode.")
            return ImageOps.exif_transpose(picture)
    except InputError:
        raise
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error ...
        reason = str(error).partition("\n")[0].replace(str(path), "").strip(" :'")
        raise InputError(f"{path}: not a readable {what} ({reason}); {remedy}.") from error


def to_8_bits(values, path):
    """Grayscale (H, W) of more than 8 bits as uint8."""
    if not np.isfinite(values).all() or values.min() < 0:
        raise InputError(f"{path}: has negative or undefined pixels; save it as 8 or 16 bits.")
    ranges = [2**bits - 1 for bits in (8, 10, 12, 14, 16)]
    top = next((top for top in ranges if values.max() <= top), values.max())
    flat, pixels = values.ravel(), np.empty(values.size, "uint8")
    for start in range(0, values.size, CHUNK):
        part = slice(start, start + CHUNK)
        pixels[part] = np.round(flat[part].astype("float64") * (255 / top))
    return pixels.reshape(values.shape)


def read_masks(paths, classes):
    """Read the masks of an image.

    Args:
        paths: one file for each class, or a single one: a mask if there is one class, else an
            integer label map, where 0 is background and label k is class k - 1.
        classes: names of the M classes.

    Returns: uint8 (H, W, M) of 0/1.

    Raises: InputError if a file cannot be decoded or is no such mask.
    """
    if len(paths) == 1 < len(classes):
        if paths[0].suffix.lower() in JPEG:
            raise InputError(f"{paths[0]}: JPEG has blurred the labels; save label maps as PNG.")
        labels = read_values(paths[0])
        check_labels(labels, classes, paths[0])
        return (labels[..., None] == np.arange(1, len(classes) + 1)).astype("uint8")
    masks = [threshold(read_values(path, binary=True), path) for path in paths]
    for path, mask in zip(paths, masks, strict=True):
        if mask.shape != masks[0].shape:
            raise InputError(f"{path}: differs in size from {paths[0]}; export both at one size.")
    return np.stack(masks, axis=-1)


def check_labels(labels, classes, where):
    """Raise InputError if a label map holds anything but 0 ... len(classes)."""
    wrong = np.setdiff1d(labels, np.arange(len(classes) + 1))
    if wrong.size:
        names = ", ".join(f"{k} {name}" for k, name in enumerate(classes, 1))
        raise InputError(
            f"{where}: holds the label {wrong[0]:g}, but the labels are 0 background, {names}; "
            "relabel it."
        )


def read_values(path, binary=False):
    """Values (H, W) of a single-channel image; of a palette image its indices or, where it shows
    black and white, their brightness."""
    picture = decode(path, "mask")
    if picture.mode == "P":
        indices = np.asarray(picture)
        palette = np.asarray(picture.getpalette("RGB")).reshape(-1, 3)
        if not binary:
            return indices
        if indices.max() >= len(palette):
            raise InputError(f"{path}: its palette lacks a colour; save the mask as 0 and 255.")
        used = palette[np.unique(indices)]
        black_or_white = ((used < 32) | (used > 223)).all() and np.ptp(used, axis=1).max() < 32
        return palette[indices, 0] if black_or_white else indices
    values = np.asarray(picture)
    if values.ndim == 3:
        colours = values[..., : 1 if picture.mode == "LA" else 3].astype(int)
        # JPEG leaves a few grey levels between the channels of a grey image
        if np.ptp(colours, axis=2).max() > (16 if path.suffix.lower() in JPEG else 0):
            raise InputError(
                f"{path}: is a colour image; save the mask as a single channel of labels."
            )
        values = colours[..., 0]
    return values


def threshold(values, path):
    """A mask of 0/1 or 0/255, with soft edges or JPEG noise, as uint8 0/1."""
    top = values.max(initial=0)
    if top <= 1 and path.suffix.lower() not in JPEG:
        return (values >= 0.5).astype("uint8")
    full = 65535 if top > 255 else 255
    if full / 8 < top <= full / 2:
        raise InputError(
            f"{path}: its largest value is {top:g}; a mask is 0 and 1, or 0 and {full}."
        )
    if top <= full / 8 and path.suffix.lower() not in JPEG:
        raise InputError(f"{path}: holds the label {top:g}, but a mask is 0 and 1, or 0 and 255.")
    return (values > full / 2).astype("uint8")


def read_pair(image_path, mask_paths, classes, channels=3):
    """Read an image and its masks; InputError if their sizes differ."""
    image, masks = read_image(image_path, channels), read_masks(mask_paths, classes)
    if image.shape[:2] != masks.shape[:2]:
        (height, width), (mask_height, mask_width) = image.shape[:2], masks.shape[:2]
        raise InputError(
            f"{mask_paths[0]}: is {mask_width}x{mask_height} pixels, but its image {image_path} is "
            f"{width}x{height}; export both at one size."
        )
    return image, masks
