"""One picture of many samples with their masks."""

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from transfuse_keras.data.pictures import color_of, overlay_classes, select_visible_slice
from transfuse_keras.data.samples import spread_evenly
from transfuse_keras.files import replacing

COLUMNS, ROWS = 6, 4


def write_contact_sheet(path, splits, task):
    """Draw samples, spread evenly over each split, with outlines of their masks, a colour a class.

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
    figure.suptitle(task.name)
    colours = [Patch(color=color_of(k), label=name) for k, name in enumerate(task.classes)]
    figure.legend(handles=colours, loc="outside lower center", ncols=COLUMNS, frameon=False)
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, (part, sample) in zip(axes, chosen, strict=False):  # the last row may not be full
        image, masks = select_visible_slice(*sample.read())
        axis.imshow(overlay_classes(image, masks == 1))
        axis.set_title(f"{part}: {sample.name[-28:]}", fontsize=7)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
    return True
