"""Masks of image files and volumes, as files."""

import glob
import itertools
import logging
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from transfuse_keras.data.layouts.listing import SUFFIXES
from transfuse_keras.data.nifti import is_nifti, read_slices, save_masks
from transfuse_keras.data.pictures import overlay, select_visible_slice
from transfuse_keras.data.readers import read_image
from transfuse_keras.errors import InputError
from transfuse_keras.files import replacing
from transfuse_keras.inference.masks import to_masks
from transfuse_keras.inference.predict import averaged, predict_images, predict_volume
from transfuse_keras.inference.predictor import load_predictor
from transfuse_keras.runs.metadata import keep_value_range, known_task

log = logging.getLogger(__name__)


AT_ONCE = 8  # images that go through the model together


def predict_files(
    model_path,
    inputs,
    out,
    threshold=None,
    flips=None,
    tile=False,
    overlays=True,
    task=None,
    precision=None,
    jit=None,
):
    """Predict files and write their masks, each at the input's own size.

    Of an image are written STEM.png, 0/255 for a single class, or for exclusive ones a label map
    (k is class k - 1); else STEM_CLASS.png, 0/255, for each class. Of a volume STEM.nii.gz on its
    own grid, see `nifti.save_masks`. STEM_overlay.png shows an image or the slice with most of
    the masks.

    Args:
        model_path: what `load_predictor` takes.
        inputs: list of paths: files, folders (all images or volumes directly in them) or glob
            patterns.
        out: folder to write to; what it holds under the same names is replaced.
        threshold: a number in 0-1, or one for each class; by default those of the model's run or
            of the .json beside it, else 0.5.
        flips, tile: as of `inference.predict`; by default the task's flips.
        overlays: whether to write the overlays.
        task: Task; by default that of the run folder which the model lies in, or that of the
            .json beside it.
        precision, jit: as of `load_predictor`.

    Returns: the number of inputs that could not be read. Each is told in a sentence on stderr.

    Raises: InputError if an argument cannot be used: nothing is written then.
    """
    predictor, known = load_predictor(model_path, precision, jit), known_task(model_path)
    if task is None and known is None:
        raise InputError(
            f"{model_path}: lies in no run folder and has no .json beside it; give --task."
        )
    task = keep_value_range(task or known[0], known)
    if (predictor.channels, predictor.classes) != (task.channels, len(task.classes)):
        raise InputError(
            f"{model_path}: takes {predictor.channels} channels and gives {predictor.classes} "
            f"maps, the task {task.name} has {task.channels} and {len(task.classes)}."
        )
    predictor = averaged(predictor, task.flips if flips is None else flips, task.mirrored_classes)
    if tile and task.field is not None:
        raise InputError(f"The task {task.name} is on volumes, which are not cut into tiles.")
    if threshold is None and known is not None:
        threshold = known[1]
    threshold = check_thresholds(0.5 if threshold is None else threshold, task.classes)
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is not a folder; give --out another name.")
    paths = find_inputs(inputs, task)
    refuse_clashes(paths, out, task, overlays)

    def save(path, image, maps):
        masks = to_masks(maps, threshold, task.exclusive)
        write(out, path, image, masks, task, overlays)

    out.mkdir(parents=True, exist_ok=True)
    # volumes, and images worth tiling, are large: one is predicted while the next is read
    at_once = 1 if tile or task.field is not None else AT_ONCE
    jobs = read_ahead(paths, task, at_once)
    failures = 0
    starts = range(0, len(paths), at_once)
    for _ in track(starts, "Predicting", disable=not sys.stdout.isatty()):
        batch = itertools.islice(jobs, at_once)
        failures += predict_batch(predictor, batch, task, tile, save)
    return failures


def predict_batch(predictor, jobs, task, tile, save):
    """Predict images together, or volumes or tiled images one after the other.

    Args:
        predictor: Predictor.
        jobs: iterable of (path, Future of what `read` gives).
        task, tile: as of `predict_files`.
        save: function of path, image and probability maps, called for each that could be read.

    Returns: the number of those that could not be; each is told on stderr.
    """
    done, failures = [], 0
    for path, job in jobs:
        try:
            done.append((path, *job.result()))
        except InputError as error:
            log.error(error)
            failures += 1
    if task.field is None:
        found = predict_images(predictor, [image for _, image, _ in done], tile=tile)
    else:
        found = (predict_volume(predictor, x, spacing, task.field) for _, x, spacing in done)
    for (path, image, _), maps in zip(done, found, strict=True):
        save(path, image, maps)
    return failures


def check_thresholds(threshold, classes):
    """One threshold per class as an array (M,), or InputError."""
    try:
        values = np.atleast_1d(np.asarray(threshold, "float64"))
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError
    except (TypeError, ValueError):
        raise InputError(f"The threshold must be from 0 to 1, not {threshold}.") from None
    if values.shape not in ((1,), (len(classes),)):
        raise InputError(
            f"Give one threshold or one for each of {', '.join(classes)}, not {values.size}."
        )
    return np.broadcast_to(values, len(classes))


def find_inputs(inputs, task):
    """The files that paths, folders and patterns stand for, each once.

    Raises: InputError if one stands for none, or a file is not of the task's kind.
    """
    kind = "images" if task.field is None else "NIfTI volumes"
    found = {}
    for given in inputs:
        path = Path(given)
        if path.is_file():
            if is_nifti(path) != (task.field is not None):
                raise InputError(f"{path}: the task {task.name} takes {kind}.")
            paths = [path]
        elif path.is_dir():
            paths = suitable(path.iterdir(), task)
        else:
            paths = suitable(map(Path, glob.glob(str(given), recursive=True)), task)
        if not paths:
            raise InputError(f"{given}: no such file, or no {kind} there.")
        found.update({place(path): path for path in paths})
    if not found:
        raise InputError(f"Nothing to predict; give {kind} or folders of them.")
    return list(found.values())


def place(path):
    """Where a file lies, whatever way leads there; a link lies where it is, not where it points."""
    return path.parent.resolve() / path.name


def suitable(paths, task):
    """Those files among `paths`, sorted, that by their names are of the task's kind."""

    def fits(path):
        known = path.suffix.lower() in SUFFIXES if task.field is None else is_nifti(path)
        return known and path.is_file() and not path.name.startswith(".")

    return sorted(filter(fits, paths))


def refuse_clashes(paths, out, task, overlays):
    """Raise InputError if two inputs would be written to one file, or over an input."""
    own = {*map(place, paths), *(path.resolve() for path in paths)}
    folder = out.resolve()
    writer = {}
    for path in paths:
        for name in output_names(path, task, overlays):
            if folder / name in own:
                raise InputError(f"{out / name}: is an input; give --out another folder.")
            if writer.setdefault(name, path) is not path:
                raise InputError(
                    f"{writer[name]} and {path}: would both be written as {name}; rename one."
                )


def output_names(path, task, overlays):
    """Names of the files that are written for an input: the masks, then the overlay if any."""
    stem = strip_suffix(path)
    if task.field is not None:
        names = [f"{stem}.nii.gz"]
    elif task.exclusive or len(task.classes) == 1:
        names = [f"{stem}.png"]
    else:
        names = [f"{stem}_{name.replace('/', '_')}.png" for name in task.classes]
    return [*names, f"{stem}_overlay.png"] if overlays else names


def strip_suffix(path):
    """The name of a file without .png, .nii, .nii.gz ..."""
    return Path(path.stem).stem if path.name.lower().endswith(".nii.gz") else path.stem


def read_ahead(paths, task, count):
    """Read files in threads, in order.

    Yields: (path, Future of what `read` gives); besides, at most `count` are held.
    """
    waiting = deque()
    with ThreadPoolExecutor(count) as pool:
        for path in paths:
            waiting.append((path, pool.submit(read, path, task)))
            if len(waiting) > count:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()


def read(path, task):
    """An image and None, or the slices of a volume and their spacing; see their readers."""
    if task.field is None:
        return read_image(path, task.channels, task.value_range), None
    return read_slices(path, task.channels)


def write(out, path, image, masks, task, overlays):
    """Write masks (..., M) of an input, and its overlay."""
    names = output_names(path, task, overlays)
    if task.field is not None:
        labels = np.arange(1, len(task.classes) + 1)
        exclusive = task.exclusive or len(labels) == 1
        save_masks(path, labels, exclusive, out / names[0], masks)
    elif task.exclusive and len(task.classes) > 1:
        labels = np.arange(1, len(task.classes) + 1, dtype="uint8")
        save_png(out / names[0], (masks * labels).max(axis=-1))
    else:
        for i in range(len(task.classes)):
            save_png(out / names[i], 255 * masks[..., i])
    if overlays:
        save_png(out / names[-1], overlay(*select_visible_slice(image, masks)))


def save_png(path, pixels):
    """Write uint8 (H, W), or (H, W, 3) of RGB."""
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    # Pillow takes ten times as long; a full disk OpenCV would not tell
    _, encoded = cv2.imencode(".png", pixels)
    with replacing(path) as temporary:
        temporary.write_bytes(encoded)
