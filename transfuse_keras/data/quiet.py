"""What the libraries that read files say of a damaged one is hidden, only while a file is read."""

import threading
import warnings
from contextlib import ExitStack, contextmanager

import nibabel
from PIL import Image

LARGEST = 2**28  # pixels, 16384 x 16384: Pillow refuses to decode more

lock, readers, undo = threading.Lock(), 0, ExitStack()


@contextmanager
def reading():
    """Silence Pillow, pydicom and nibabel: our one sentence tells what is wrong with a file.

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
    for module in (r"PIL\.", "pydicom", "nibabel"):
        warnings.filterwarnings("ignore", module=module)
    undo.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    Image.MAX_IMAGE_PIXELS = LARGEST // 2  # Pillow warns of more, and refuses twice as many
    logger = nibabel.imageglobals.logger
    undo.callback(logger.setLevel, logger.level)
    logger.setLevel("CRITICAL")
