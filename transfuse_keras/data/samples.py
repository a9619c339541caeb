"""Samples: what is known of an image or a volume before it is read."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from transfuse_keras.data.phantoms import PHANTOMS, draw_phantom, phantom_spacing, volume_spacing
from transfuse_keras.files import portable


@dataclass(frozen=True)
class Sample:
    """One image, or one volume of slices, with its masks, read on demand.

    Attributes:
        name: unique in its data set.
        group: the patient or video; samples of one group never part in a split.
        spacing: (row, column) millimetres per pixel, or None where unknown; of a volume (slice,
            row, column).
        read: function without arguments -> image uint8 (H, W, C) and masks uint8 (H, W, M) of
            0/1, and of IGNORED in the pixels that `task.ignore` leaves out; of a volume float32
            (D, H, W, C), z-scored by channel, and (D, H, W, M).
        split: "train", "val" or "test" where the data set decides, else None.
        slices: D of a volume, None for an image.
        files: image and masks, for messages.
        save: function of (path, masks) that writes the masks of a volume on its own grid.
        overlap: function without arguments -> number of pixels in which objects of different
            classes lie on one another; None where masks are stored, not drawn.
        attributes: what subgroups are made of, such as {"device": "A"}.
    """

    name: str
    group: str
    spacing: tuple[float, ...] | None
    read: Callable
    split: str | None = None
    slices: int | None = None
    files: tuple[Path, ...] = ()
    save: Callable | None = None
    overlap: Callable | None = None
    attributes: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def file_name(self):
        """The name as part of a file name."""
        return portable(self.name)


def phantom_samples(task, size, seed, indices):
    """Phantoms of a task as samples; case i of a seed is the same whatever `indices` are."""
    slices = None if task.field is None else PHANTOMS[task.name].SLICES
    spacing = (phantom_spacing if slices is None else volume_spacing)(task.name, size)
    return [
        Sample(
            f"phantom-{i:04}",
            f"{i}",
            tuple(spacing),
            partial(draw_phantom, task.name, size, seed, i),
            slices=slices,
        )
        for i in indices
    ]


SPLITS = {"train": 7, "val": 1, "test": 2}  # the paper's ratio for the hip task


def spread_evenly(items, most):
    """At most so many items of a list, from the first to the last at even distances."""
    chosen = np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)
    return [items[i] for i in chosen]
