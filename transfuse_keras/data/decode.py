"""Picture files decoded by Pillow, upright; what Pillow reads wrong is read right or refused."""

import io

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from transfuse_keras.data.quiet import LARGEST_PICTURE, reading
from transfuse_keras.errors import InputError

MOST_SCANS = 2**32  # pixels times scans of a progressive JPEG: each scan goes over all pixels
# only these: Pillow would start Ghostscript for PostScript, whatever a file is called
IMAGE_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000")
# formats and compressions of TIFF that may change values, and their names
LOSSY = {"JPEG": "JPEG", "MPO": "JPEG", "WEBP": "WebP", "JPEG2000": "JPEG 2000"}
LOSSY |= {"jpeg": "JPEG", "tiff_jpeg": "JPEG", "webp": "WebP"}
PHOTOMETRIC, BITS, PLANES, EXTRA_SAMPLES, SAMPLE_FORMAT = 262, 258, 284, 338, 339  # TIFF tags
ORIENTATION = 274  # also of EXIF
MIN_IS_WHITE, SEPARATE, PREMULTIPLIED, SIGNED = 0, 2, 1, 2  # their values
CORNER = np.zeros((8, 16), "uint8")  # which shows how it was turned
CORNER[:4, :4] = 255
STEPS = {2: 85, 4: 17}  # bits of a grey pixel: distance of the levels that Pillow makes of them


def decode_picture(path, what):
    """A file as a Pillow image, decoded and upright.

    info["lossy"] names what may have changed values, or is None. Of a grey image of 1 or more than
    8 bits, info["negative"] tells whether 0 is white: Pillow has inverted that of 1 bit, and those
    of 2 to 8 bits. Of 2 or 4 bits, info["step"] is the distance of the grey levels, which Pillow
    spreads over 8 bits; else it is 1. A colour image of 16 bits has info["deep"]: Pillow has
    dropped its lower bytes, `decode_deep_colours` has not.

    Args:
        path: Path.
        what: "image" or "mask", for messages.

    Raises: InputError if the file cannot be decoded as a whole, or holds several pictures.
    """
    remedy = "replace it or take out its image too" if what == "mask" else "replace or remove it"
    try:
        # an open file: Pillow maps the pixels of a path into memory, and takes those of a grey TIFF
        # on its side for rows of another length
        with reading(), path.open("rb") as file, Image.open(file, formats=IMAGE_FORMATS) as picture:
            refuse_picture_bomb(picture, path)
            # the further pictures of an MPO, which cameras write, are previews
            count = getattr(picture, "n_frames", 1) if picture.format != "MPO" else 1
            if count > 1:
                raise InputError(
                    f"{path}: holds {count} pages or frames; save the one that counts as a file "
                    "of its own."
                )
            if picture.format == "JPEG2000" and not is_grey_and_deep(picture):
                refuse_deep_jpeg_2000(path)
            upright = turn_upright(picture)
            if upright.mode in ("La", "RGBa"):  # colours that transparency has darkened
                upright = upright.convert(upright.mode.upper())
            tags = getattr(picture, "tag_v2", {})
            compression = picture.info.get("compression")
            refuse_signed_bytes(upright, tags, path)
            if (
                tags
                and picture.mode in ("I", "F")
                and tags.prefix == b"MM"
                and compression != "raw"
            ):
                # Pillow exchanges bytes that libtiff has exchanged
                raise InputError(f"{path}: is a compressed big endian TIFF; save it uncompressed.")
            upright.info["lossy"] = LOSSY.get(picture.format) or LOSSY.get(compression)
            upright.info["step"] = STEPS.get(grey_bits(picture, path), 1)
            upright.info["negative"] = tags.get(PHOTOMETRIC) == MIN_IS_WHITE and (
                picture.mode == "1" or is_grey_and_deep(picture)
            )
            upright.info["deep"] = has_deep_colours(picture, path)
            return upright
    except InputError:
        raise
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error ...
        reason = str(error).partition("\n")[0].replace(str(path), "").strip(" :'")
        if isinstance(error, UnidentifiedImageError):  # names the open file
            reason = "its kind of file or of pixels is not known"
        raise InputError(f"{path}: not a readable {what} ({reason}); {remedy}.") from error


def refuse_picture_bomb(picture, path):
    """Raise InputError if an opened image would take too long to decode."""
    pixels = picture.width * picture.height
    if pixels > LARGEST_PICTURE:
        raise InputError(
            f"{path}: claims {picture.width}x{picture.height} pixels, too many to decode."
        )
    # a start of scan is nothing else in compressed data
    if picture.format in ("JPEG", "MPO"):
        scans = path.read_bytes().count(b"\xff\xda")
        if pixels * scans > MOST_SCANS:
            raise InputError(f"{path}: has {scans} scans, too many to decode.")


def refuse_deep_jpeg_2000(path):
    """Raise InputError if colours have more than 8 bits, whose white Pillow makes black."""
    content = path.read_bytes()
    start = content.find(b"\xff\x4f\xff\x51")  # of the codestream, where sizes follow
    if 0 <= start < len(content) - 42 and content[start + 42] & 127 > 7:  # bits less one
        raise InputError(f"{path}: has colours of more than 8 bits; save it as PNG or with 8 bits.")


def turn_upright(picture):
    """An opened image, decoded and turned by its EXIF alone. Pillow would also believe its XMP, as
    browsers and OpenCV, which reads colours of 16 bits, do not."""
    if picture.format == "TIFF":  # Pillow turns it as it is loaded
        picture.getexif()[ORIENTATION] = picture.tag_v2.get(ORIENTATION, 1)
        return ImageOps.exif_transpose(picture)
    picture.load()  # a PNG may tell it behind its pixels
    exif = picture.info.get("exif")
    form = "JPEG" if picture.format in ("JPEG", "MPO") else "PNG"
    turn = find_exif_turn(exif, form) if exif else None
    return picture.copy() if turn is None else picture.transpose(turn)


def find_exif_turn(exif, form):
    """What puts a picture with these EXIF bytes upright, as Pillow names it; None for nothing.

    OpenCV is asked, by a tiny picture of the format: the edge script reads by it, so damaged EXIF
    is read alike, too.
    """
    buffer = io.BytesIO()
    Image.fromarray(CORNER).save(buffer, form, exif=exif)
    content = np.frombuffer(buffer.getvalue(), "uint8")
    flat = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    upright = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE)
    turned = {turn: np.asarray(Image.fromarray(flat).transpose(turn)) for turn in Image.Transpose}
    return next((turn for turn in turned if np.array_equal(turned[turn], upright)), None)


def refuse_signed_bytes(picture, tags, path):
    """Raise InputError if a decoded TIFF has negative values of 8 bits; Pillow makes them large."""
    signed = tags.get(SAMPLE_FORMAT) == (SIGNED,) and picture.mode == "L"
    if signed and picture.getextrema()[1] > 127:
        raise InputError(f"{path}: has negative values; save it without.")


def is_grey_and_deep(picture):
    return picture.mode == "F" or picture.mode.startswith("I")


def grey_bits(picture, path):
    """The bits of a pixel of an opened grey image, for Pillow 8 of all up to 8."""
    if picture.mode == "L" and picture.format == "PNG":
        return png_bits(path)
    if picture.mode == "L" and picture.format == "TIFF":
        return picture.tag_v2.get(BITS, (8,))[0]
    return 8


def png_bits(path):
    """The bits of a sample, of the header of a PNG file."""
    with path.open("rb") as file:
        return file.read(25)[24]


def has_deep_colours(picture, path):
    """Whether an opened image with colours or transparency has 16 bits."""
    if picture.format == "PNG" and picture.mode in ("LA", "RGB", "RGBA"):
        return png_bits(path) == 16
    if picture.format == "TIFF" and picture.mode in ("RGB", "RGBA"):
        return max(picture.tag_v2.get(BITS, (8,))) > 8
    return False


def is_deep(path):
    """Whether a file is an image of more than 8 bits, by its header; False if it is none."""
    try:
        with reading(), Image.open(path, formats=IMAGE_FORMATS) as picture:
            return is_grey_and_deep(picture) or has_deep_colours(picture, path)
    except Exception:  # whoever reads the file tells what is wrong with it
        return False


def decode_deep_colours(path):
    """A colour image of 16 bits that `decode_picture` accepted: uint16 (H, W, 3), RGB, upright."""
    with reading(), Image.open(path, formats=IMAGE_FORMATS) as picture:
        tags = getattr(picture, "tag_v2", {})
        if tags.get(EXTRA_SAMPLES, (0,))[0] == PREMULTIPLIED:
            raise InputError(f"{path}: its transparency has darkened its colours; save it without.")
        if tags.get(PLANES) == SEPARATE:  # OpenCV mixes them up
            raise InputError(f"{path}: its 16-bit colours lie in separate planes; save it as PNG.")
    try:
        data = np.frombuffer(path.read_bytes(), "uint8")
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        pixels = None
    if pixels is None or pixels.dtype != np.uint16:
        raise InputError(f"{path}: its 16-bit colours cannot be decoded; save it with 8 bits.")
    return pixels[..., ::-1]


def is_turned(path):
    """Whether a picture file is turned when it is read, as its EXIF says."""
    try:
        with Image.open(path) as picture:
            if picture.format == "TIFF":
                return picture.tag_v2.get(ORIENTATION, 1) not in (0, 1)
            exif = picture.info.get("exif")
            form = "JPEG" if picture.format in ("JPEG", "MPO") else "PNG"
            return bool(exif) and find_exif_turn(exif, form) is not None
    except Exception:  # no picture, or the reader will say what is wrong with it
        return False
