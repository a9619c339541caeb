"""One picture of many samples with their masks."""

import numpy as np
from matplotlib.figure import Figure

from transfuse_keras.data.pictures import overlay, select_visible_slice
from transfuse_keras.data.samples import spread_evenly
from transfuse_keras.files import replacing

COLUMNS, ROWS = 6, 4


def write_contact_sheet(path, splits, task):
    """Draw samples, spread evenly over each split, with the outlines of their masks in green.

    Args:
        path: Path of the PNG.
        splits: part -> list of Sample.
        task: Task.

    Returns: whether there was anything to draw.
    """
    named = {
        sample.name: (part, sample)
        for part, part_samples in splits.items()
        for sample in part_samples
    }
    samples = list(named.values())
    if not samples:
        return False
    chosen = spread_evenly(samples, COLUMNS * ROWS)
    rows = -(-len(chosen) // COLUMNS)
    figure = Figure(figsize=(2.4 * COLUMNS, 2.6 * rows), layout="constrained")
    figure.suptitle(f"{task.name}: {', '.join(task.classes)}")
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, (part, sample) in zip(axes, chosen, strict=False):  # the last row may not be full
        image, masks = select_visible_slice(*sample.read())
        masks = (masks == 1).astype("uint8")
        axis.imshow(overlay(image, np.zeros_like(masks), truth=masks))
        axis.set_title(f"{part}: {sample.name[-28:]}", fontsize=7)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
    return True
