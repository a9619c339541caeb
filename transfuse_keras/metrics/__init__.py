"""Scores of masks, on arrays and during training."""

from typing import TYPE_CHECKING, Any

from transfuse_keras.metrics.overlap import dice, iou, pixel_accuracy, precision, recall
from transfuse_keras.metrics.pranet import pranet_curves, pranet_scores
from transfuse_keras.metrics.saliency import e_curve, saliency_scores
from transfuse_keras.metrics.surface import (
    asd,
    assd,
    hd,
    hd95,
    nsd,
    surface_distances,
    surface_scores,
)

if TYPE_CHECKING:
    from transfuse_keras.metrics.streaming import DiceScore, IoUScore

__all__ = [
    "DiceScore",
    "IoUScore",
    "asd",
    "assd",
    "dice",
    "e_curve",
    "hd",
    "hd95",
    "iou",
    "nsd",
    "pixel_accuracy",
    "pranet_curves",
    "pranet_scores",
    "precision",
    "recall",
    "saliency_scores",
    "surface_distances",
    "surface_scores",
]


def __getattr__(name: str) -> Any:
    if name not in ("DiceScore", "IoUScore"):
        raise AttributeError(f"module 'transfuse_keras.metrics' has no attribute '{name}'")
    from transfuse_keras.metrics import (
        streaming,  # brings Keras, which the other scores do not need
    )

    return getattr(streaming, name)
