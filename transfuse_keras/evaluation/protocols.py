"""What is scored and how: overlaps, and the protocols of PraNet and ISIC."""

import numpy as np

from transfuse_keras.data.resize import IGNORED, resize_image, resize_masks
from transfuse_keras.errors import InputError
from transfuse_keras.inference.masks import to_masks
from transfuse_keras.inference.predict import predict
from transfuse_keras.metrics import (
    dice,
    iou,
    pixel_accuracy,
    pranet_scores,
    precision,
    recall,
    saliency_scores,
)

OVERLAP = {
    "dice": dice,
    "iou": iou,
    "accuracy": pixel_accuracy,
    "precision": precision,
    "recall": recall,
}
PROTOCOL = (
    "per {what} and class at native size, threshold {thresholds}; a class scores the mean over "
    "the {what}s whose truth is not empty; surface distances in {unit}, undefined where either "
    "mask is empty, and with penalty the image's diagonal where the prediction alone is empty"
)
ISIC_SIZE = (192, 256)


def score_like_pranet(predictor, image, truth, maps, thresholds):
    """Columns of the PraNet protocol, one dict per class."""
    rows = []
    for i in range(truth.shape[-1]):
        mask = truth[..., i] == 1
        found = np.where(truth[..., i] == IGNORED, 0, maps[..., i])
        scores = pranet_scores(mask, found)
        rows.append(
            {
                "pranet_dice": scores["dice"],
                "pranet_iou": scores["iou"],
                **saliency_scores(mask, found),
            }
        )
    return rows


def score_like_isic(predictor, image, truth, maps, thresholds):
    """Columns of the ISIC protocol at 192x256, one dict per class."""
    small = to_masks(predict(predictor, resize_image(image, ISIC_SIZE)), thresholds)
    masks = resize_masks(truth, ISIC_SIZE)
    counted = masks[..., 0] != IGNORED
    masks, small = masks[counted], small[counted]
    return [
        {
            f"{metric}_192x256": OVERLAP[metric](masks[..., i] > 0, small[..., i] > 0)
            for metric in ("iou", "dice", "accuracy")
        }
        for i in range(truth.shape[-1])
    ]


# name -> (what it adds to the text of the protocol, function)
PROTOCOLS = {
    "pranet": (
        "pranet_dice and pranet_iou as PraNet scores them: probabilities scaled from their "
        "smallest to their largest by image, mean over 256 thresholds, 0 where nothing overlaps; "
        "S-measure, weighted F, E-measure and MAE as PySODMetrics defines them",
        score_like_pranet,
    ),
    "isic": (
        "columns named 192x256 with image and truth at that size, and all components",
        score_like_isic,
    ),
}


def refuse_unknown_protocols(task):
    """Raise InputError if a task names a protocol that is none of PROTOCOLS."""
    if unknown := set(task.protocols) - PROTOCOLS.keys():
        known = ", ".join(PROTOCOLS)
        raise InputError(f"The task's protocol {min(unknown)} is unknown; known are {known}.")


def describe_protocol(task, thresholds, unit, flips):
    """What the scores of an evaluation mean, in words."""
    text = PROTOCOL.format(
        what="image" if task.field is None else "volume",
        thresholds=describe_thresholds(thresholds),
        unit="mm" if unit == "mm" else "pixels",
    )
    surfaces = []
    if task.tolerance is not None and unit == "mm":
        surfaces = [f"nsd is the share of both surfaces within {task.tolerance:g} mm of the other"]
    sure = []
    if task.sure:
        names = ", ".join(task.sure)
        sure = [f"of {names} only sure components count, cases-uncut.csv has all"]
    mirrored = [f"mean over mirror images ({', '.join(flips)})"] if flips else []
    return "; ".join(
        [text, *surfaces, *sure, *(PROTOCOLS[name][0] for name in task.protocols), *mirrored]
    )


def describe_thresholds(thresholds):
    """ "0.5", or "PZ 0.4, TZ 0.5" where classes differ."""
    if len(set(thresholds.values())) == 1:
        return f"{next(iter(thresholds.values())):g}"
    return ", ".join(f"{name} {value:g}" for name, value in thresholds.items())


def pool_protocols(parts):
    """The protocol of all folds as one text; what is not the same for all is told of each.

    Args:
        parts: list of {"protocol", "thresholds"} as metrics.json holds them.
    """
    texts = [describe_thresholds(part["thresholds"]) for part in parts]
    each = "; ".join(f"fold {number}: {text}" for number, text in enumerate(texts))
    own = f"threshold of each fold its own ({each})"
    folds = {}  # of each clause
    for number, (part, text) in enumerate(zip(parts, texts, strict=True)):
        for clause in part["protocol"].split("; "):
            if len(set(texts)) > 1:
                clause = clause.replace(f"threshold {text}", own, 1)
            folds.setdefault(clause, []).append(number)
    return "; ".join(
        clause if len(of) == len(parts) else f"fold {' and '.join(map(str, of))}: {clause}"
        for clause, of in folds.items()
    )
