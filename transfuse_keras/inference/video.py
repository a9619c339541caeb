"""Video files and cameras: every frame is predicted, and drawn into a new video."""

import itertools
import logging
import re
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import cv2

from transfuse_keras.data.pictures import overlay
from transfuse_keras.data.quiet import without_stderr
from transfuse_keras.data.readers import with_channels
from transfuse_keras.errors import InputError, quantity
from transfuse_keras.files import replacing
from transfuse_keras.inference.inputs import Input, locate
from transfuse_keras.inference.masks import to_masks
from transfuse_keras.inference.outputs import write
from transfuse_keras.inference.predict import predict_images
from transfuse_keras.inference.progress import with_progress

log = logging.getLogger(__name__)

VIDEO_SUFFIXES = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"}
CAMERA = re.compile(r"(?:camera:)?(\d+)")
USUAL_RATE = 25.0  # frames a second, where a camera does not tell
CODEC = "mp4v"  # MPEG-4 part 2, which OpenCV writes on every system


@dataclass(frozen=True)
class Film:
    """A video file, or a camera.

    Attributes:
        name: of what is written for it.
        source: Path of the file, or number of the camera.
    """

    name: str
    source: Path | int

    @property
    def is_camera(self):
        return isinstance(self.source, int)


def split_films(inputs):
    """The Films among what is to be predicted, and the rest. A number is a camera, unless a file
    or folder has that name."""
    films, rest = [], []
    for given in inputs:
        path, camera = Path(given), CAMERA.fullmatch(str(given))
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
            films.append(Film(path.stem, path))
        elif camera and not path.exists():
            films.append(Film(f"camera-{camera[1]}", int(camera[1])))
        else:
            rest.append(given)
    return films, rest


def refuse_films(films, out, task):
    """Raise InputError if films cannot be predicted, or would be written to one place."""
    if task.field is not None:
        raise InputError(f"{films[0].source}: is a video, and the task {task.name} is on volumes.")
    names = [film.name.casefold() for film in films]
    for film in films:
        if names.count(film.name.casefold()) > 1:
            raise InputError(f"{film.name}: two videos have this name; rename one.")
        if not film.is_camera and locate(film.source) == locate(out / f"{film.name}_overlay.mp4"):
            raise InputError(f"{film.source}: would be written over; give another --out.")


def predict_film(film, load, out, task, threshold, tile, overlays):
    """Predict all frames of a Film.

    Written are NAME/000001.png ... as of an image each, and NAME_overlay.mp4, of the same size and
    rate. A camera is read until Ctrl-C.

    Args:
        load: function without arguments that gives the Predictor.
        out: Path of the folder.
        task: Task.
        threshold: of each class.
        tile: as of `predict`.
        overlays: whether to write the video.

    Returns: how many sentences were logged on what could not be read.

    Raises: InputError if the film cannot be opened.
    """
    with without_stderr():  # OpenCV's own words on what we say in a sentence
        capture = cv2.VideoCapture(film.source if film.is_camera else str(film.source))
    read = 0
    with ExitStack() as stack:
        stack.callback(capture.release)
        done, frame = capture.read() if capture.isOpened() else (False, None)
        if not done:
            what = f"camera {film.source}" if film.is_camera else film.source
            raise InputError(f"{what}: no frame can be read from it.")
        predictor, folder = load(), out / film.name
        folder.mkdir(parents=True, exist_ok=True)
        draw = open_writer(stack, capture, frame, out, film) if overlays else None
        total = 0 if film.is_camera else int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if film.is_camera:
            log.info(f"Predicting camera {film.source}; Ctrl-C ends it.")
        try:
            # the header of a file may name fewer frames than there are
            for _ in itertools.chain(with_progress(total, "frames"), itertools.count()):
                if not done:
                    break
                image = with_channels(frame[..., ::-1].copy(), task.channels)
                (maps,) = predict_images(predictor, [image], tile=tile)
                masks = to_masks(maps, threshold, task.exclusive, task.sure_maps)
                read += 1
                write(folder, Input(f"{read:06}", ()), image, masks, task, overlays=False)
                if draw is not None:
                    draw(overlay(image, masks)[..., ::-1])
                done, frame = capture.read()
        except KeyboardInterrupt:
            if not film.is_camera:
                raise
    log.info(f"{film.name}: {quantity(read, 'frame')}")
    if read < total:
        log.error(f"{film.source}: is said to have {total} frames, but {read} could be read.")
    return int(read < total)


def open_writer(stack, capture, frame, out, film):
    """A function that writes a frame, uint8 (H, W, 3) BGR, into the overlay of a film, which is
    complete when `stack` is closed."""
    height, width = frame.shape[:2]
    path = out / f"{film.name}_overlay.mp4"
    rate = capture.get(cv2.CAP_PROP_FPS)
    temporary = stack.enter_context(replacing(path))
    rate = rate if rate > 0 else USUAL_RATE
    code = cv2.VideoWriter_fourcc(*CODEC)
    writer = cv2.VideoWriter(str(temporary), code, rate, (width, height))
    stack.callback(writer.release)
    if not writer.isOpened():
        raise InputError(f"{path}: this OpenCV cannot write it; give --no-overlays.")
    return writer.write
