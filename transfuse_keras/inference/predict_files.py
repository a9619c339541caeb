"""Masks of image files and volumes, as files."""

import itertools
import logging
from collections import Counter, defaultdict, deque
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from transfuse_keras.data.kinds import is_dicom
from transfuse_keras.data.readers import read_image, with_channels
from transfuse_keras.errors import InputError, quantity
from transfuse_keras.files import read_json, write_table
from transfuse_keras.inference.ensemble import average_predictors, refuse_other_sizes
from transfuse_keras.inference.inputs import find_inputs
from transfuse_keras.inference.masks import clean, to_masks
from transfuse_keras.inference.outputs import SegWriter, refuse_clashes, write
from transfuse_keras.inference.predict import (
    AT_ONCE,
    average_flips,
    choose_flips,
    predict_images,
    predict_volume,
)
from transfuse_keras.inference.predictor import load_predictor
from transfuse_keras.inference.progress import with_progress
from transfuse_keras.inference.review import Review
from transfuse_keras.inference.video import predict_film, refuse_films, split_films
from transfuse_keras.runs.fitting import known_together
from transfuse_keras.runs.folder import CONFIG, find_run
from transfuse_keras.runs.members import find_cleanup
from transfuse_keras.runs.metadata import keep_ranges
from transfuse_keras.runs.trust import read_trust

log = logging.getLogger(__name__)


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
    seg=None,
    measure=False,
    sr=False,
    contours=(),
    spread=False,
    predictors=None,
    shard=None,
):
    """Predict files and write their masks, each at the input's own size.

    Of an image are written STEM.png, 0/255 for a single class, or for exclusive ones a label map
    (k is class k - 1); else STEM_CLASS.png, 0/255, for each class. Of a DICOM file with several
    frames they are written for each: STEM_0001.png ... Of a volume STEM.nii.gz on its own grid, see
    `volumes.save_masks`. STEM_overlay.png shows an image or the slice with most of the masks.
    STEM_seg.dcm is the DICOM SEG of a DICOM file or series, see `dicom_seg`.
    All folds of a cross-validation on volumes clean their masks up as it did, see `find_cleanup`.
    Where a single model comes with a Trust, review.csv lists what to look at, see `review`. The
    model is loaded when the first input has been read.

    Args:
        model_path: what `load_predictor` takes, or a list of them: their mean then.
        inputs: list of paths: files, folders (all images or volumes directly in them; the DICOM
            slices of a series are one volume), patterns, video files and cameras, see `video`.
        out: folder to write to; what it holds under the same names is replaced.
        threshold: a number in 0-1, or one for each class; by default those of the model's run or
            of the .json beside it, else 0.5.
        flips, tile: as of `inference.predict`; by default the task's flips; "tta" for all that
            the training made.
        overlays: whether to write the overlays.
        task: Task; by default that of the run folder which the model lies in, or the one that
            an exported model names.
        precision, jit: as of `load_predictor`.
        seg: "binary" or "fractional" DICOM SEG, or "none"; by default binary where highdicom is
            installed.
        measure: whether to write measurements.csv, see `measurements`.
        sr: whether to write a DICOM SR of sizes, STEM_sr.dcm, beside each SEG, see `dicom_sr`.
        contours: of "coco", "labelme" and "geojson": outlines to be corrected, see `annotations`.
        spread: whether to write how far several models differ, see `annotations`.
        predictors: what `load_members` gave, where the models are loaded already.
        shard: Shard of the inputs to predict, all frames and slices of a file together; None: all.

    Returns: how many sentences were logged on what could not be read or was passed over.

    Raises: InputError if an argument cannot be used: nothing is written then.
    """
    members = model_path if isinstance(model_path, list) else [model_path]
    task, threshold, flips = settle(members, task, threshold, flips, tile)
    cleanup = find_cleanup(members)
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is not a folder; give --out another name.")
    films, images = split_films(inputs)
    found, passed = find_inputs(images, task) if images or not films else ([], [])
    if films:
        refuse_films(films, out, task)
        if contours or spread or measure or sr:
            raise InputError(f"{films[0].source}: of a video only masks and overlays are written.")
    seg = choose_seg(seg, found, sr)
    notes = None
    if contours or spread:
        from transfuse_keras.inference.annotations import AnnotationWriter

        notes = AnnotationWriter(out, task, tuple(contours), spread)
        notes.refuse(found, len(members))
    refuse_clashes(found, out, task, overlays, seg, sr, notes and notes.name_files)
    if shard is not None:
        if films or notes is not None:
            raise InputError("--shard: leave out videos, --contours and --spread.")
        found = shard.of(found, key=lambda item: item.sources)
        passed = passed if shard.index == 0 else []
    for sentence in passed:
        log.error(sentence)
    segs = None
    if seg != "none":
        origin = describe_origin(members, task, threshold, flips, tile, seg)
        segs = SegWriter(out, task, origin, seg, Counter(item.sources for item in found), sr)
    trust, rows = read_trust(members[0]) if len(members) == 1 else None, []
    review = trust and Review(trust)
    if measure:
        from transfuse_keras.inference.measurements import MEASUREMENTS, measure_masks

    def steps(item, image, spacing, maps):
        """What is made of a prediction, one by one: what fails does not stop the others."""
        maps, deviations = np.split(maps, 2, axis=-1) if spread else (maps, None)
        masks = clean(to_masks(maps, threshold, task.exclusive, task.sure_maps), cleanup)
        yield lambda: write(out, item, image, masks, task, overlays)
        if segs is not None and is_dicom(item.files[0]):
            yield lambda: segs.add(item, maps, masks)
        if review:
            yield lambda: review.add(item.name, image, maps, masks)
        if measure:
            yield lambda: rows.extend(measure_masks(item, masks, spacing, task))
        if notes is not None:
            yield lambda: notes.add(item, maps, masks, deviations)

    @cache
    def load():
        loaded = predictors or load_members(members, precision, jit, task)
        out.mkdir(parents=True, exist_ok=True)
        return average_predictors(
            [average_flips(x, flips, task.mirrored_classes) for x in loaded], spread
        )

    # volumes, and images worth tiling, are large: one is predicted while the next is read
    at_once = 1 if tile or task.field is not None else AT_ONCE
    jobs = read_ahead(found, task, at_once)
    failures, doubts = len(passed), defaultdict(list)
    for _ in with_progress(len(found), "files", at_once):
        done, failed = take(itertools.islice(jobs, at_once))
        failures += failed
        if not done:
            continue
        for item, _, _, doubt in done:
            doubts[doubt].append(item.files[0])
        if task.field is None:
            maps = predict_images(load(), [image for _, image, *_ in done], tile=tile)
        else:
            maps = (
                predict_volume(load(), x, spacing, task.field, context=task.context)
                for _, x, spacing, _ in done
            )
        for given, probabilities in zip(done, maps, strict=True):
            for step in steps(*given[:3], probabilities):
                try:
                    step()
                except InputError as error:
                    log.error(error)
                    failures += 1
    for film in films:
        try:
            failures += predict_film(film, load, out, task, threshold, tile, overlays)
        except InputError as error:
            log.error(error)
            failures += 1
    if task.field is not None:
        from transfuse_keras.data.volumes import tell_doubts

        for sentence in tell_doubts(doubts):
            log.warning(sentence)
    if rows:
        write_table(out / (MEASUREMENTS if shard is None else f"{shard}-{MEASUREMENTS}"), rows)
    if notes is not None:
        notes.finish()
    if review and review.rows:
        sentence = review.write(out / ("review.csv" if shard is None else f"{shard}-review.csv"))
        (log.warning if any(row["look"] for row in review.rows) else log.info)(sentence)
    unfinished = segs.describe_unfinished() if segs is not None else []
    for sentence in unfinished:
        log.error(sentence)
    return failures + len(unfinished)


def settle(members, task=None, threshold=None, flips=None, tile=False):
    """What models are run with, where the options leave a choice; arguments as of `predict_files`.

    Returns: (Task, array of a threshold for each class, flips).

    Raises: InputError if they cannot be used.
    """
    known = known_together(members)
    if task is None and known is None:
        if not Path(members[0]).exists():
            load_predictor(members[0])  # says what a model is
        raise InputError(
            f"{members[0]}: lies in no run folder and does not tell its task; give --task."
        )
    task = keep_ranges(task or known[0], known)
    flips = choose_flips(flips, task)
    if tile and task.field is not None:
        raise InputError(f"The task {task.name} is on volumes, which are not cut into tiles.")
    if tile and any(map(has_white_balance, members)):
        log.warning(
            "--tile: each tile gets its white balance by itself; one that shows little but a "
            "lesion gets other colours than in training."
        )
    if threshold is None and known is not None:
        threshold = known[1]
    threshold = check_thresholds(0.5 if threshold is None else threshold, task.classes)
    return task, threshold, flips


def has_white_balance(path):
    """Whether the run that a model is of says so."""
    run = find_run(path)
    return bool(run and (read_json(run / CONFIG) or {}).get("recipe", {}).get("white_balance"))


def describe_origin(members, task, threshold, flips, tile, seg):
    """What a DICOM SEG of settled options comes from besides its images, see `compute_origin`."""
    from transfuse_keras.inference.dicom_seg import compute_origin, digest_task

    settings = *threshold, flips or "-", tile, seg, *(f"sure:{name}" for name in task.sure or ())
    settings = *settings, f"task:{digest_task(task)}"
    return " ".join(compute_origin(Path(path), *settings) for path in members)


def choose_seg(seg, found, sr=False):
    """The kind of DICOM SEG to write: as asked, else binary where highdicom is installed; "none"
    if no Input is DICOM. InputError if a DICOM SR is asked for, which belongs to a SEG, and there
    is none."""
    if not any(is_dicom(item.files[0]) for item in found) or seg == "none":
        if sr:
            raise InputError("A DICOM SR belongs to the DICOM SEG of DICOM images; leave it out.")
        return "none"
    if seg is None and not sr and find_spec("highdicom") is None:
        log.warning(
            "No DICOM SEG is written, as highdicom is missing: pip install "
            "'transfuse-keras[dicom]'."
        )
        return "none"
    from transfuse_keras.inference.dicom_seg import import_highdicom

    import_highdicom()
    return seg or "binary"


def load_members(members, precision, jit, task):
    """The Predictor of each model; InputError if one is not of this task, or of another size."""
    predictors = []
    for path in members:
        predictor = load_predictor(path, precision, jit)
        if (predictor.channels, predictor.classes) != (task.inputs, len(task.classes)):
            raise InputError(
                f"{path}: takes {quantity(predictor.channels, 'channel')} and gives "
                f"{quantity(predictor.classes, 'map')}, the task {task.name} has {task.inputs} "
                f"and {len(task.classes)}."
            )
        predictors.append(predictor)
    refuse_other_sizes(members, [predictor.size for predictor in predictors])
    return predictors


def take(jobs):
    """What has been read.

    Args:
        jobs: iterable of (Input, Future of what `read_input` gives).

    Returns: list of (Input, image, spacing, doubt), and the number of those that could not be read;
    each is logged.
    """
    done, failures = [], 0
    for item, job in jobs:
        try:
            done.append((item, *job.result()))
        except InputError as error:
            log.error(error)
            failures += 1
    return done, failures


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


def read_ahead(found, task, count):
    """Read inputs in threads, in order.

    Yields: (Input, Future of what `read_input` gives); besides, at most `count` are held.
    """
    waiting = deque()
    with ThreadPoolExecutor(count) as pool:
        for item in found:
            waiting.append((item, pool.submit(read_input, item, task)))
            if len(waiting) > count:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()


def read_input(item, task):
    """An image, None and "", or what `volumes.read_slices` gives of a volume."""
    if task.field is not None:
        from transfuse_keras.data.volumes import read_slices

        try:
            return read_slices(item.sources, task.channels)
        except InputError as error:
            if item.name in str(error):
                raise
            raise InputError(f"{item.name}: {error}") from error  # of several series in a folder
    (path,) = item.sources
    if item.frame is not None:
        from transfuse_keras.data.dicom import read_dicom

        shown = read_dicom(path, item.frame, task.dicom_range)
        return with_channels(shown, task.channels), None, ""
    return read_image(path, task.channels, **task.ranges), None, ""
