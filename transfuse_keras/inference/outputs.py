"""The files that a prediction leaves: masks, overlays and, of DICOM images, DICOM SEG and SR."""

import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from transfuse_keras.data.kinds import is_dicom
from transfuse_keras.data.pictures import overlay, save_png, select_visible_slice
from transfuse_keras.errors import InputError
from transfuse_keras.files import portable
from transfuse_keras.inference.inputs import locate
from transfuse_keras.tasks.task import Task

ONE_CASE = sys.platform in ("win32", "darwin")  # A.png and a.png are one file there


def refuse_clashes(found, out, task, overlays, seg, sr=False, name_more=None):
    """Raise InputError if two inputs would be written to one file, or over an input; the frames of
    a file share its SEG and SR. `name_more`: function of an Input to names of further files."""
    files = [path for item in found for path in item.files]
    own = {*map(locate, files), *(path.resolve() for path in files)}
    folder = out.resolve()
    writer = {}
    for item in found:
        more = name_more(item) if name_more else []
        for name in [*output_names(item, task, overlays, seg, sr), *more]:
            if folder / name in own:
                raise InputError(f"{out / name}: is an input; give --out another folder.")
            if is_truth(folder / name, item):
                raise InputError(
                    f"{out / name}: is there already, and may be the truth of {item.files[0]}; "
                    "give --out another folder, or take out what was predicted before."
                )
            key = name.casefold() if ONE_CASE else name
            if key in writer:
                other = writer[key]
                if name in (seg_name(item), sr_name(item)) and other.sources == item.sources:
                    continue
                who, remedy = f"{other.files[0]} and {item.files[0]}:", "rename one"
                if other is item:
                    who, remedy = f"{item.files[0]}: two classes", "rename one of them"
                raise InputError(f"{who} would both be written as {name}; {remedy}.")
            writer[key] = item


def is_truth(path, item):
    """Whether a file that is there lies as the mask of an Input does in a data set, and not as what
    was predicted before, which has an overlay or a review.csv beside it."""
    place = path.parent
    if place.parent != locate(item.files[0]).parent.parent or not path.is_file():
        return False
    from transfuse_keras.data.layouts.folders import MASKS  # imports readers that are seldom needed

    own = (place / f"{item.name}_overlay.png", place / "review.csv")
    return place.name.lower() in MASKS and not any(file.is_file() for file in own)


def output_names(item, task, overlays, seg="none", sr=False):
    """Names of the files that are written for an Input: the masks, then the overlay if any, then
    the DICOM SEG and SR, which the frames of a file share."""
    if task.field is not None:
        names = [f"{item.name}.nii.gz"]
    elif task.exclusive or len(task.classes) == 1:
        names = [f"{item.name}.png"]
    else:
        names = [f"{item.name}_{portable(name)}.png" for name in task.classes]
    names += [f"{item.name}_overlay.png"] if overlays else []
    if seg != "none" and is_dicom(item.files[0]):
        names += [seg_name(item), sr_name(item)] if sr else [seg_name(item)]
    return names


def seg_name(item):
    """The name of the DICOM SEG of the file or series that an Input is of."""
    return f"{item.name if item.frame is None else item.name.rpartition('_')[0]}_seg.dcm"


def sr_name(item):
    """The name of the DICOM SR beside the SEG."""
    return f"{seg_name(item).removesuffix('_seg.dcm')}_sr.dcm"


def write(out, item, image, masks, task, overlays):
    """Write masks (..., M) of an Input, and its overlay."""
    names = output_names(item, task, overlays)
    if task.field is not None:
        from transfuse_keras.data.volumes import save_masks

        labels = np.arange(1, len(task.classes) + 1)
        exclusive = task.exclusive or len(labels) == 1
        save_masks(item.sources[0], labels, exclusive, out / names[0], masks)
    elif task.exclusive and len(task.classes) > 1:
        labels = np.arange(1, len(task.classes) + 1, dtype="uint8")
        save_png(out / names[0], (masks * labels).max(axis=-1))
    else:
        for i in range(len(task.classes)):
            save_png(out / names[i], 255 * masks[..., i])
    if overlays:
        save_png(out / f"{item.name}_overlay.png", overlay(*select_visible_slice(image, masks)))


@dataclass
class SegWriter:
    """Writes the DICOM SEG of each file or series as soon as all of it is predicted.

    Attributes:
        out: folder.
        task: Task.
        origin, kind: as of `save_segmentation`.
        frames: sources of an Input -> number of its frames.
        sr: whether to write a DICOM SR of sizes beside each SEG.
    """

    out: Path
    task: Task
    origin: str
    kind: str
    frames: Counter
    sr: bool = False
    waiting: dict = field(default_factory=lambda: defaultdict(list))

    def add(self, item, maps, masks):
        """Take probabilities and masks (..., M) of an Input; InputError if no SEG can be made."""
        values = masks if self.kind == "binary" else np.round(maps * 255).astype("uint8")
        if self.task.field is not None:
            from transfuse_keras.data.dicom_series import sort_slices
            from transfuse_keras.data.orientation import from_slices

            slices, affine = sort_slices(item.sources[0])
            planes = [from_slices(x, affine).transpose(2, 1, 0, 3) for x in (values, masks)]
            self.save(item, [header for _, header in slices], *planes)
            return
        parts = self.waiting[item.sources]
        parts.append((values, masks))
        if len(parts) == self.frames[item.sources]:
            from transfuse_keras.data.dicom import open_dicom

            del self.waiting[item.sources]
            self.save(item, [open_dicom(item.files[0])], *map(np.stack, zip(*parts, strict=True)))

    def save(self, item, headers, values, masks):
        from transfuse_keras.inference.dicom_seg import save_segmentation

        path = self.out / seg_name(item)
        made = save_segmentation(path, headers, values, self.task, self.origin, self.kind)
        if self.sr:
            from transfuse_keras.inference.dicom_sr import save_report

            path = self.out / sr_name(item)
            save_report(path, headers, made, masks, self.task, self.origin)

    def describe_unfinished(self):
        """Sentences on the files of which frames could not be read."""
        return [
            f"{path}: no DICOM SEG is written, as {len(parts)} of its {self.frames[path,]} frames "
            "were predicted."
            for (path,), parts in self.waiting.items()
        ]
