"""Scores of masks, on arrays and during training."""

from transfuse_keras.metrics.overlap import dice, iou
from transfuse_keras.metrics.streaming import DiceScore
from transfuse_keras.metrics.surface import asd, assd, hd, hd95, surface_distances, surface_scores

__all__ = [
    "DiceScore",
    "asd",
    "assd",
    "dice",
    "hd",
    "hd95",
    "iou",
    "surface_distances",
    "surface_scores",
]
