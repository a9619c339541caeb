"""What libraries say is hidden: of a damaged file while it is read, of themselves as they load."""

import logging
import os
import sys
import threading
import warnings
from contextlib import ExitStack, contextmanager, nullcontext

from PIL import Image

LARGEST_PICTURE = 2**28  # pixels, 16384 x 16384: Pillow refuses to decode more

lock, readers, undo = threading.Lock(), 0, ExitStack()


@contextmanager
def reading():
    """Silence the libraries that read files: our one sentence tells what is wrong with a file.

    Threads may be in here together; the first changes the libraries' settings, the last one sets
    them back, so a program that uses these libraries itself finds them as it left them.
    """
    global readers
    with lock:
        readers += 1
        if readers == 1:
            change_settings()
    try:
        yield
    finally:
        with lock:
            readers -= 1
            if not readers:
                undo.close()


def change_settings():
    undo.enter_context(warnings.catch_warnings())
    for module in (r"PIL\.", "pydicom", "highdicom", "nibabel"):
        warnings.filterwarnings("ignore", module=module)
    undo.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    Image.MAX_IMAGE_PIXELS = LARGEST_PICTURE // 2  # Pillow warns of more, and refuses twice as many
    for name in ("nibabel.global", "pydicom", "highdicom"):
        logger = logging.getLogger(name)
        undo.callback(logger.setLevel, logger.level)
        # pydicom logs a decoder that failed before another one did it
        logger.setLevel(logging.CRITICAL + 1)


def silenced():
    """Within this context TensorFlow and LiteRT write nothing to stderr at TF_CPP_MIN_LOG_LEVEL 3.

    Their C++ parts write some lines while they are loaded, whatever that level is.
    """
    quiet = os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "3"
    return without_stderr() if quiet else nullcontext()


@contextmanager
def without_stderr():
    """Within this context nothing is written to the file descriptor of stderr."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
