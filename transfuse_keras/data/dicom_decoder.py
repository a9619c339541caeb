"""A decoder that pydicom lacks: JPEG of 12 bits and lossless JPEG by imagecodecs (BSD licence).

pydicom's own ways to these are gdcm, which has no 12 bits, and pylibjpeg-libjpeg, which is GPL.
The names DECODER_DEPENDENCIES and is_available are those that pydicom looks for in a plugin.
"""

import functools
import struct
import threading
from importlib.util import find_spec

from pydicom.pixels import get_decoder
from pydicom.pixels.utils import _get_jpg_parameters
from pydicom.uid import JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1

DECODER_DEPENDENCIES = {
    uid: ("imagecodecs",) for uid in (JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)
}
lock = threading.Lock()
EXTRA = ("imagecodecs", "pylibjpeg", "openjpeg", "jpeg_ls")  # modules that the extra dicom brings


def is_available(uid):
    return uid in DECODER_DEPENDENCIES and find_spec("imagecodecs") is not None


def add_decoder():
    """Let pydicom use `decode_frame`; threads may call this together, and often."""
    with lock:
        add_once()


@functools.cache
def add_once():
    for uid in DECODER_DEPENDENCIES:
        get_decoder(uid).add_plugin("imagecodecs", (__name__, "decode_frame"))


def decode_frame(source, runner):
    """The bytes of a decoded frame; what the file says of itself is in pydicom's `runner`."""
    import imagecodecs

    # the same colours in and out: pydicom converts them where the file says so
    colours = "GRAYSCALE" if runner.samples_per_pixel == 1 else "RGB"
    values = imagecodecs.jpeg8_decode(source, colorspace=colours, outcolorspace=colours)
    runner.set_option("bits_allocated", 8 * values.itemsize)
    if runner.samples_per_pixel > 1:
        runner.set_option("planar_configuration", 0)
    return values.tobytes()


def check_size(frame, size):
    """Raise ValueError if a compressed frame would be decoded to another size than (H, W).

    Decoders believe what the frame says, and would take any amount of memory.
    """
    start = frame.find(b"\xff\x4f\xff\x51")  # JPEG 2000: start of codestream, sizes follow
    if frame.startswith(b"\xff\xd8"):
        found = _get_jpg_parameters(frame)  # JPEG and JPEG-LS
        found = found.get("height"), found.get("width")
    elif 0 <= start <= len(frame) - 24:
        right, bottom, left, top = struct.unpack(">4I", frame[start + 8 : start + 24])
        found = bottom - top, right - left
    else:
        return
    if found != size:
        raise ValueError(
            f"its pixels are {found[1]}x{found[0]}, its header says {size[1]}x{size[0]}"
        )


def missing_packages():
    """The modules of the extra `dicom` that are not installed."""
    return [name for name in EXTRA if find_spec(name) is None]
