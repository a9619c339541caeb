"""Masks of images or of a camera on a device, from one .tflite file.

    python transfuse_edge.py model.tflite image.jpg --out masks
    python transfuse_edge.py model.tflite --camera 0

Copy this file, the .tflite and its .json; besides it takes NumPy, OpenCV and ai-edge-litert. The
numbers are those of transfuse_keras: the same reading, resizing, thresholds and outlines. What
OpenCV would read otherwise is refused: a TIFF with transparency, several pages or unusual colours,
a CMYK JPEG or TIFF, an animated PNG, a BMP of 16 bits, DICOM, and every other kind of file.
"""

import argparse
import json
import os
import re
import struct
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter

MARGIN = 0.05  # a component may be so much less sure than the surest
WHITE = (255, 255, 255)
# outlines, as RRGGBB: of one class, and of several, as the package draws them
MAGENTA = "ff00ff"
CLASS_COLOURS = ("e69f00", "56b4e9", "009e73", "f0e442", "d55e00", "cc79a7", "0072b2")
BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION, SAMPLES = 258, 259, 262, 274, 277  # TIFF tags
PLANES, TILE_WIDTH, EXTRA_SAMPLES, SAMPLE_FORMAT = 284, 322, 338, 339
SIGNED, FLOAT, SEPARATE, JPEG, YCBCR = 2, 3, 2, 7, 6  # values of some
COMPRESSIONS = (1, 5, JPEG, 8, 32773, 32946)  # none, LZW, JPEG, deflate, PackBits, deflate
COLOURS = (0, 1, 2, 3, YCBCR)  # white as 0, black as 0, RGB, palette
STARTS = (b"\x89PNG", b"\xff\xd8", b"II*\0", b"MM\0*", b"BM")  # of the files that are read


class InputError(ValueError):
    """What a user gave cannot be used; the message names it and the remedy in one sentence."""


FLIPS = {"": (), "h": (1,), "v": (0,), "hv": (1, 0)}  # axes of an image


class Segmenter:
    """A .tflite file of a task on images, with the .json beside it, ready to run.

    Args:
        path: of the .tflite file; the name of the other is the same plus .json.
        threads: by default all cores.

    Attributes:
        size, channels: (height, width) and number of channels that the model sees of an image.
        classes: names of the M classes.
        thresholds: list of M floats.
        exclusive: whether a pixel belongs to one class at most.
        sure: names of the classes of whose masks only sure components stay.
        value_range: (black, white) of images of more than 8 bits, or None.
        flips: "", "h", "v" or "hv": the mirror images that are averaged over.
        mirrored: for each map of an image flipped left to right, the index of the map it is from.

    Raises: InputError if a file is missing, damaged or of a task on volumes.
    """

    def __init__(self, path, threads=None):
        about = read_about(path)
        self.classes, self.thresholds, self.exclusive, self.sure, self.value_range = about[:5]
        self.flips, pairs = about[5:]
        partner = {a: b for pair in pairs for a, b in (pair, pair[::-1])}
        self.mirrored = [self.classes.index(partner.get(name, name)) for name in self.classes]
        threads = os.cpu_count() if threads is None else threads
        if threads < 1:
            raise InputError(f"threads must be 1 or more, not {threads}.")
        try:
            self.interpreter = Interpreter(str(path), num_threads=threads)
            self.interpreter.allocate_tensors()
            (self.input,) = self.interpreter.get_input_details()
            (self.output,) = self.interpreter.get_output_details()
            _, *size, self.channels = self.input["shape"].tolist()
            if self.output["shape"].tolist() != [1, *size, len(self.classes)]:
                raise ValueError(f"not of the classes {', '.join(self.classes)}")
            self.size = tuple(size)
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise InputError(f"{path}: damaged or not what its .json tells ({reason}).") from error

    def probabilities(self, image):
        """Probability maps of an image.

        Args:
            image: uint8 (H, W, 3), RGB; a model of one channel is given its brightness.

        Returns: float32 (H, W, M) in [0, 1] at the image's own size.

        Raises: ValueError for an image of another shape or dtype.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"The image must be uint8 (H, W, 3), not {image.dtype} {image.shape}.")
        seen = image
        if self.channels == 1:  # rounded as Pillow does
            weights = np.uint32([[19595], [38470], [7471]])
            seen = ((image @ weights + 2**15) >> 16).astype("uint8")
        maps = self.run(resize(seen, self.size), FLIPS[self.flips])
        return resize(maps, image.shape[:2])

    def run(self, seen, axes):
        """The maps of an image of the model's size, averaged over its mirror images along axes."""
        if axes:
            *inner, axis = axes
            mirrored = np.flip(self.run(np.flip(seen, axis), inner), axis)
            mirrored = mirrored[..., self.mirrored] if axis == 1 else mirrored
            return (self.run(seen, inner) + mirrored) / 2
        dtype = np.uint8 if self.input["dtype"] == np.uint8 else np.float32
        self.interpreter.set_tensor(self.input["index"], seen[None].astype(dtype))
        self.interpreter.invoke()
        return self.interpreter.get_tensor(self.output["index"])[0]

    def masks(self, image):
        """Masks of an image, given as to `probabilities`: uint8 0/1 (H, W, M) at its own size.

        A mask is 1 where its probability reaches the threshold of its class; with `exclusive`,
        only the most probable class of a pixel can be. Of a class in `sure` only the
        components stay that `sure_components` gives.
        """
        probabilities = self.probabilities(image)
        # compared in the precision of the probabilities, so that 0.3 reaches 0.3
        masks = probabilities >= np.asarray(self.thresholds, probabilities.dtype)
        if self.exclusive:
            best = probabilities.argmax(axis=-1)[..., None]
            masks &= best == np.arange(len(self.classes))
        masks = masks.astype("uint8")
        for k in map(self.classes.index, self.sure):
            masks[..., k] = sure_components(masks[..., k], probabilities[..., k])
        return masks


def sure_components(mask, probabilities):
    """Of a mask uint8 (H, W) the connected component with the highest mean probability, and those
    whose mean is lower by MARGIN at most."""
    count, labels = cv2.connectedComponents(np.ascontiguousarray(mask), connectivity=4)
    if count <= 2:  # the background is one of them
        return mask
    sums = np.bincount(labels.ravel(), probabilities.ravel())
    means = sums / np.bincount(labels.ravel())
    kept = means >= means[1:].max() - MARGIN
    kept[0] = False
    return kept[labels].astype("uint8")


def read_about(path):
    """Classes, thresholds, exclusive, sure classes, value range, mirror images and mirrored pairs
    of a .tflite by the .json beside it."""
    file = Path(f"{path}.json")
    for part in (Path(path), file):
        if not part.is_file():
            raise InputError(f"{part}: no such file; copy the .tflite and its .json together.")
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
        classes, exclusive, values = about["classes"], about["exclusive"], about["input"]["values"]
        thresholds = [float(x) for _, x in zip(classes, about["thresholds"], strict=True)]
        # files of former versions lack these
        sure, value_range = about.get("sure", []), about["input"].get("value_range")
        flips, pairs = about.get("flips", ""), about.get("mirror_pairs", [])
        if flips not in FLIPS:
            raise ValueError(f"flips is {flips}")
        if not set(sure) <= set(classes):
            raise ValueError(f"sure is {sure}")
        if value_range is not None:
            low, high = value_range = [float(x) for x in value_range]
            if not low < high:
                raise ValueError(f"value_range is {value_range}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: damaged ({error}); export the model again.") from error
    if values != "RGB, 0-255":
        raise InputError(f"{path}: takes no images, but slices of volumes, {values}.")
    return classes, thresholds, exclusive, sure, value_range, flips, pairs


def resize(image, size):
    """Resize (H, W, C) to `size` = (height, width): by area when it shrinks, else bilinear."""
    if image.shape[:2] == size:
        return image
    shrinks = image.shape[0] >= size[0] and image.shape[1] >= size[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    # by area OpenCV takes no more than four channels; it drops a single one
    parts = [image[..., i : i + 4] for i in range(0, image.shape[2], 4)]
    parts = [cv2.resize(part, size[::-1], interpolation=how) for part in parts]
    return np.concatenate([part.reshape(*size, -1) for part in parts], axis=-1)


def overlay(image, masks):
    """The outlines of masks 0/1 (H, W, M) on an RGB image, uint8 (H, W, 3): magenta, or of several
    classes each in its colour."""
    width = max(1, round(min(masks.shape[:2]) / 200))
    kernel = np.ones((2 * width + 1, 2 * width + 1), "uint8")
    picture = image.copy()
    for k in range(masks.shape[2]):
        mask = np.ascontiguousarray(masks[..., k], "uint8")
        colour = MAGENTA if masks.shape[2] == 1 else CLASS_COLOURS[k % len(CLASS_COLOURS)]
        picture[mask != cv2.erode(mask, kernel, borderValue=0)] = list(bytes.fromhex(colour))
    return picture


def read_image(path, value_range=None):
    """Read a PNG, JPEG, TIFF or BMP, upright: uint8 RGB (H, W, 3).

    Args:
        path: of the file.
        value_range: (black, white) of images of more than 8 bits. None is the range of the
            smallest of 8, 10, 12, 14 and 16 bits that holds the largest value, for floating-point
            values up to 1 the range from 0 to 1.

    Raises: InputError if the file cannot be decoded, or not as the package decodes it.
    """
    try:
        content = Path(path).read_bytes()
        if content[128:132] == b"DICM":  # before it may be the header of a TIFF
            raise InputError(f"{path}: is DICOM; use transfuse predict, or save it as PNG.")
        if not content.startswith(STARTS):
            raise InputError(f"{path}: is no PNG, JPEG, TIFF or BMP; save it as PNG.")
        data = np.frombuffer(content, "uint8")
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except (OSError, cv2.error):  # OpenCV's: an empty file, or one that claims too many pixels
        content, pixels = b"", None
    tags = tiff_tags(content)
    if pixels is None and tags.get(SAMPLE_FORMAT) == FLOAT and tags.get(ORIENTATION, 1) == 1:
        pixels = decode_float(data)
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16, np.int16, np.float32):
        raise InputError(f"{path}: not a readable PNG, JPEG, TIFF or BMP; replace or remove it.")
    is_tiff = content[:2] in (b"II", b"MM")
    if is_tiff and (not tags or EXTRA_SAMPLES in tags or cv2_pages(data) != 1):
        raise InputError(f"{path}: a TIFF with transparency or several pages; save it as PNG.")
    if is_unusual(tags, content[:2] == b"MM"):
        raise InputError(f"{path}: a TIFF with unusual colours or compression; save it as PNG.")
    if content.startswith(b"\x89PNG") and b"acTL" in content.partition(b"IDAT")[0]:
        raise InputError(f"{path}: an animated PNG; save the picture that counts.")
    if is_cmyk_jpeg(content):
        raise InputError(f"{path}: a JPEG of four colours (CMYK); save it as RGB.")
    if is_masked_bmp(content):
        raise InputError(f"{path}: a BMP of 16 bits or unusual colours; save it as PNG.")
    if pixels.dtype != np.uint8:
        pixels = to_8_bits(pixels, path, value_range)
        pixels = 255 - pixels if tags.get(PHOTOMETRIC) == 0 else pixels
    return np.ascontiguousarray(pixels[..., ::-1])


def to_8_bits(values, path, value_range):
    """Values of more than 8 bits as uint8, see `read_image`."""
    if not np.isfinite(values).all() or (value_range is None and values.min() < 0):
        raise InputError(f"{path}: has negative or undefined pixels; save it as 8 or 16 bits.")
    ranges = [2**bits - 1 for bits in (8, 10, 12, 14, 16)]
    ranges = [1, *ranges] if values.dtype == np.float32 else ranges
    top = next((top for top in ranges if values.max() <= top), values.max())
    low, high = value_range or (0, top)
    scaled = (values.astype("float64") - low) * (255 / (high - low))
    return np.round(np.clip(scaled, 0, 255)).astype("uint8")


def decode_float(data):
    """A grey TIFF of float32 as (H, W, 3) of equal channels, None if it is none."""
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if pixels is None or pixels.ndim != 2:
        return None
    return np.repeat(pixels[..., None], 3, axis=2)


def cv2_pages(data):
    """The number of pictures in a file."""
    found, pages = cv2.imdecodemulti(data, cv2.IMREAD_UNCHANGED)
    return len(pages) if found else 0


def tiff_tags(content):
    """Tag -> its first value, of those of a TIFF file that are whole numbers; else empty."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(content[:4])
    try:
        (start,) = struct.unpack_from(f"{order}I", content, 4)
        (count,) = struct.unpack_from(f"{order}H", content, start)
        tags = {}
        for i in range(count):
            place = start + 2 + 12 * i
            tag, kind, number = struct.unpack_from(f"{order}HHI", content, place)
            if kind in (3, 4):  # of 2 and 4 bytes; what does not fit lies elsewhere
                letter, fits = ("H", 2) if kind == 3 else ("I", 1)
                if number > fits:
                    (place,) = struct.unpack_from(f"{order}I", content, place + 8)
                    place -= 8
                (tags[tag],) = struct.unpack_from(f"{order}{letter}", content, place + 8)
        return tags
    except struct.error:  # no TIFF, or a damaged one
        return {}


def is_unusual(tags, big_endian):
    """Whether OpenCV reads a TIFF with these tags otherwise than the package, or not at all."""
    compression, colours = tags.get(COMPRESSION, 1), tags.get(PHOTOMETRIC, 1)
    several, deep = tags.get(SAMPLES, 1) > 1, tags.get(BITS, 8) > 8
    kind = tags.get(SAMPLE_FORMAT)
    return (
        compression not in COMPRESSIONS
        or colours not in COLOURS
        or (colours == YCBCR and compression != JPEG)
        or (several and kind in (SIGNED, FLOAT))
        or (several and deep and tags.get(PLANES) == SEPARATE)
        or (colours == 0 and deep and (kind == SIGNED or big_endian))
        or (big_endian and compression != 1 and kind in (SIGNED, FLOAT))
        or (TILE_WIDTH in tags and tags.get(ORIENTATION, 1) != 1)
    )


def is_cmyk_jpeg(content):
    """Whether a JPEG has four components, by its start of frame."""
    place = 2 if content[:2] == b"\xff\xd8" else len(content)
    while place + 10 <= len(content) and content[place] == 0xFF:
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return content[place + 9] == 4
        place += 2 + length
    return False


def is_masked_bmp(content):
    """Whether the colours of a BMP lie in other bits than in bytes of blue, green and red."""
    if content[:2] != b"BM" or content[14:18] == b"\x0c\0\0\0":  # OS/2 has bytes only
        return False
    bits, masked = content[28], content[30] in (3, 6)
    usual = struct.pack("<3I", 0xFF0000, 0xFF00, 0xFF)
    return bits == 16 or (masked and content[54:66] != usual)


def segment_files(segmenter, paths, out, overlays=True):
    """Write the masks of images as PNG files, named and encoded as `transfuse predict` does.

    STEM.png is 0/255 of a single class, or for exclusive ones a label map (k is class k - 1); else
    there is STEM_CLASS.png, 0/255, for each class. STEM_overlay.png shows the outlines.

    Returns: the number of images that could not be read. Each is told in a sentence on stderr.

    Raises: InputError if the arguments cannot be used: nothing is written then.
    """
    out, paths, failures = Path(out), [Path(path) for path in paths], 0
    label_map = segmenter.exclusive and len(segmenter.classes) > 1
    single = label_map or len(segmenter.classes) == 1
    endings = [""] if single else [f"_{portable(name)}" for name in segmenter.classes]
    endings += ["_overlay"] if overlays else []
    refuse_clashes(paths, out, endings)
    for path in paths:
        try:
            image = read_image(path, segmenter.value_range)
        except InputError as error:
            print(error, file=sys.stderr)
            failures += 1
            continue
        start = time.perf_counter()
        masks = segmenter.masks(image)
        milliseconds = 1000 * (time.perf_counter() - start)
        pictures = list(255 * np.moveaxis(masks, -1, 0))
        if label_map:
            pictures = [(masks * np.arange(1, masks.shape[2] + 1, dtype="uint8")).max(axis=-1)]
        if overlays:
            pictures.append(cv2.cvtColor(overlay(image, masks), cv2.COLOR_RGB2BGR))
        for ending, picture in zip(endings, pictures, strict=True):
            save_png(out / f"{path.stem}{ending}.png", picture)
        shares = zip(segmenter.classes, 100 * masks.mean(axis=(0, 1)), strict=True)
        found = ", ".join(f"{name} {share:.1f} %" for name, share in shares)
        print(f"{path}: {milliseconds:.0f} ms, {found}")
    return failures


def portable(name):
    """A name as part of the name of a file on every system: Windows allows no < > : " | ? *."""
    return re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", name)


def refuse_clashes(paths, out, endings):
    """Raise InputError if an image is missing, or a file would be written twice or over one."""
    double = {x for x in endings if endings.count(x) > 1}
    if double:
        raise InputError(f"Two classes would both be written as NAME{min(double)}.png; rename one.")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is not a folder; give --out another name.")
    taken = {path.resolve() for path in paths}
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path}: no such file.")
        files = {(out / f"{path.stem}{ending}.png").resolve() for ending in endings}
        if files & taken:
            file = min(files & taken)
            raise InputError(f"{path}: {file} is taken; rename it or give --out another folder.")
        taken |= files


def save_png(path, pixels):
    """Write uint8 (H, W), or (H, W, 3) of BGR; the file is never seen half-written."""
    _, encoded = cv2.imencode(".png", pixels)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".part.{path.name}")
    try:
        temporary.write_bytes(encoded)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def watch(segmenter, number):
    """Show what a camera sees, with outlines and frames per second, until q is pressed."""
    try:
        cv2.namedWindow("transfuse")
    except cv2.error:
        raise InputError("opencv-python-headless has no windows; install opencv-python.") from None
    camera, last = cv2.VideoCapture(number), time.perf_counter()
    while cv2.waitKey(1) & 0xFF != ord("q"):
        found, frame = camera.read()
        if not found:
            raise InputError(f"The camera {number} gives no picture; connect it or try another.")
        image = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        picture = cv2.cvtColor(overlay(image, segmenter.masks(image)), cv2.COLOR_RGB2BGR)
        now = time.perf_counter()
        rate, last = f"{1 / (now - last):.1f} frames/s", now
        cv2.putText(picture, rate, (8, 24), cv2.FONT_HERSHEY_PLAIN, 1.5, WHITE)
        cv2.imshow("transfuse", picture)


def main(argv=None):
    """Run the command line.

    Returns: the exit code: 0 done, 1 some of the images could not be read, 2 unusable input.
    """
    # without a usage, an error is one sentence
    about = {"usage": argparse.SUPPRESS, "description": __doc__.split("\n")[0]}
    parser = argparse.ArgumentParser(**about, allow_abbrev=False)
    add = parser.add_argument
    add("model", help=".tflite file, its .json beside it")
    add("images", nargs="*", metavar="image", help="PNG, JPEG, TIFF or BMP")
    add("--out", metavar="DIR", help="folder to write the masks of images to")
    add("--camera", type=int, metavar="N", help="show camera N, from 0 on; q ends")
    add("--threads", type=int, metavar="N", help="by default all cores")
    add("--no-overlay", action="store_true", help="masks only, no pictures")
    arguments = parser.parse_intermixed_args(argv)
    given = {bool(arguments.images), bool(arguments.out), arguments.camera is None}
    if len(given) > 1:
        parser.error("give images and --out, or --camera")
    # what OpenCV says of a damaged file comes in the one sentence of ours
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        segmenter = Segmenter(arguments.model, arguments.threads)
        if arguments.camera is not None:
            return watch(segmenter, arguments.camera) or 0
        images = dict.fromkeys(arguments.images)
        failures = segment_files(segmenter, images, arguments.out, not arguments.no_overlay)
        return 0 if not failures else 2 if failures == len(images) else 1
    except (InputError, OSError) as error:
        print(f"transfuse_edge: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
