"""Is an exported file the same model? Compared on held-out images where it is made."""

import logging
from dataclasses import dataclass

import numpy as np

from transfuse_keras.data.cache import fitted
from transfuse_keras.data.context import with_neighbours
from transfuse_keras.errors import quantity
from transfuse_keras.export.averaging import Averaged
from transfuse_keras.export.budgets import BUDGETS, OverBudget
from transfuse_keras.export.formats import FORMATS
from transfuse_keras.files import read_json, replacing, replacing_with_weights, write_json
from transfuse_keras.inference.masks import to_masks
from transfuse_keras.inference.predict import AT_ONCE
from transfuse_keras.inference.predictor import as_predictor, load_predictor
from transfuse_keras.metrics import dice
from transfuse_keras.runs.embedded import write_embedded
from transfuse_keras.runs.metadata import compose_description, metadata_path, write_metadata

log = logging.getLogger(__name__)


COMPARED = 32  # held-out images on which a file is compared with the Keras model


@dataclass(frozen=True)
class HeldOut:
    """Images to compare on, and what the Keras model makes of them.

    Attributes:
        images: (N, H, W, C) float32 of the model's size, as of `serving_model`.
        truths: (N, H, W, M) of 0/1, or None.
        probabilities: (N, H, W, M) by the Keras model.
        source: what the images are, in words.
    """

    images: np.ndarray
    truths: np.ndarray | None
    probabilities: np.ndarray
    source: str


def held_out(model, images, truths, source):
    """HeldOut of a TransFuse, or of an Averaged."""
    images = images.astype("float32")
    run = (model.as_predictor() if isinstance(model, Averaged) else as_predictor(model)).run
    # so many at once as in scoring: the model would be compiled anew for another number
    step = AT_ONCE if len(images) > AT_ONCE else 1
    filled = np.concatenate([images, images[: -len(images) % step]])
    found = [run(filled[start : start + step]) for start in range(0, len(filled), step)]
    return HeldOut(images, truths, np.concatenate(found)[: len(images)], source)


def predict_held_out(model, task, samples):
    """HeldOut of the first samples, and the (row, column) mm of a pixel at the model's size.

    Of a volume the slice that shows most counts. Without samples the images are noise.
    """
    samples, size = samples[:COMPARED], model.input_shape[1:3]
    if not samples:
        shape = (4, *model.input_shape[1:])
        noise = np.random.default_rng(0).uniform(0, 255, shape)
        return held_out(model, noise, None, "4 images of noise"), None
    images, truths, spacings = [], [], []
    for sample in samples:
        image, masks = sample.read()
        masks = (masks == 1).astype("uint8")
        if sample.spacing is not None and task.field is None:
            pairs = zip(sample.spacing, image.shape, size, strict=False)
            spacings.append([mm * own / wanted for mm, own, wanted in pairs])
        image, masks = fitted(image, masks, sample, size, task.field)
        image, truth = select_fullest_slice(with_neighbours(image, task.context), masks)
        images.append(image)
        truths.append(truth)
    if task.field is not None:
        spacings = [[mm / n for mm, n in zip(task.field, size, strict=True)]]
    source = quantity(len(images), "test image")
    against = held_out(model, np.stack(images), np.stack(truths), source)
    return against, tuple(np.median(spacings, axis=0)) if spacings else None


def select_fullest_slice(images, masks):
    """Of slices (D, H, W, C) and masks (D, H, W, M) the one that shows most."""
    index = masks.sum(axis=(1, 2, 3)).argmax()
    return images[index], masks[index]


def verify(run, against, thresholds=0.5, exclusive=False):
    """How an exported model differs from the Keras model.

    Args:
        run: function from images (B, H, W, C) to probabilities (B, H, W, M).
        against: HeldOut.
        thresholds, exclusive: as of `to_masks`.

    Returns: {"images": what was compared on, "largest_difference": of probabilities, "mask_dice":
    mean Dice of its masks and the Keras model's over images and classes, 1 where both are empty,
    "keras_dice", "dice": mean Dice of either with the truth, over images and classes whose truth
    is not empty, "dice_lost": their difference}. The last three are None without truths.
    """
    starts = range(0, len(against.images), AT_ONCE)
    found = np.concatenate([run(against.images[start : start + AT_ONCE]) for start in starts])
    masks, wanted = (to_masks(x, thresholds, exclusive) for x in (found, against.probabilities))
    report = {
        "images": against.source,
        "largest_difference": float(np.abs(found - against.probabilities).max()),
        "mask_dice": mean_dice(wanted, masks),
    }
    keras_dice = own_dice = None
    if against.truths is not None and against.truths.any():
        keras_dice = mean_dice(against.truths, wanted, shown_only=True)
        own_dice = mean_dice(against.truths, masks, shown_only=True)
    lost = None if own_dice is None else keras_dice - own_dice
    return {**report, "keras_dice": keras_dice, "dice": own_dice, "dice_lost": lost}


def mean_dice(truths, masks, shown_only=False):
    """Mean Dice over images and classes of (N, H, W, M); `shown_only`: of truths not empty."""
    pairs = zip(
        np.moveaxis(truths, 3, 1).reshape(-1, *truths.shape[1:3]),
        np.moveaxis(masks, 3, 1).reshape(-1, *masks.shape[1:3]),
        strict=True,
    )
    return float(np.mean([dice(a, b) for a, b in pairs if a.any() or not shown_only]))


def check_budget(path, quantize, verified):
    """Raise OverBudget if an exported model differs too much.

    Args:
        path: of the file, for the message.
        quantize: a key of BUDGETS.
        verified: what `verify` gave.
    """
    key, direction, limit = BUDGETS[quantize]
    value = verified[key]
    finite = np.isfinite(verified["largest_difference"])
    # written so that nan is over budget
    if not (finite and (value <= limit if direction == "at most" else value >= limit)):
        raise OverBudget(
            f"{path.name} is not the same model: {key.replace('_', ' ')} {value:.3g} on "
            f"{verified['images']}, {direction} {limit} is allowed; it was not kept."
        )


def export_verified(model, path, name, quantize, against, origin, arguments=None):
    """Write one file, with its sidecar and a row in export.json, if it is within its budget.

    Args:
        model: TransFuse.
        path: Path of the file or folder.
        name: a key of FORMATS.
        quantize: a key of BUDGETS.
        against: HeldOut.
        origin: ModelFacts.
        arguments: further ones of the format's function.

    Raises: OverBudget; no file is left then, or the one that was there before. InputError if the
    export.json that is there is damaged.
    """
    export, *_ = FORMATS[name]
    about = compose_description(model, origin, name, quantize)
    if name == "pytorch":  # no graph to run
        with replacing(path) as temporary:
            export(model, temporary)
            write_embedded(temporary, about)
        log.info(f"Wrote {path}")
        return
    thresholds = [origin.thresholds[x] for x in origin.task.classes]
    file = path.parent / "export.json"
    known = read_json(file) or {}
    beside = replacing_with_weights if name == "openvino" else replacing
    with beside(path) as temporary:
        export(model, temporary, **(arguments or {}))
        write_embedded(temporary, about)
        # in one expression: on Windows no file is renamed that a runtime holds open
        verified = verify(load_predictor(temporary).run, against, thresholds, origin.task.exclusive)
        check_budget(path, quantize, verified)
    write_metadata(path, about, verified, origin.file)
    write_json(file, {**known, path.name: verified})
    lost = "" if verified["dice"] is None else f", Dice {verified['dice']:.4f}"
    log.info(
        f"Wrote {path} and {metadata_path(path).name}: largest difference "
        f"{verified['largest_difference']:.1e}{lost} on {verified['images']}"
    )
