"""Outlines for people to correct, how far models differ, and a list of what to look at first."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from transfuse_keras.data.kinds import is_dicom
from transfuse_keras.data.pictures import save_png
from transfuse_keras.errors import InputError
from transfuse_keras.files import write_json, write_table
from transfuse_keras.inference.contours import join_holes, leave_out_straight, trace_objects
from transfuse_keras.metrics.expected_dice import expected_dice
from transfuse_keras.tasks.task import Task

COCO_FILE, LIST = "coco.json", "certainty.csv"


def measure_certainty(maps, masks):
    """How certain the masks of an image are, a number from 0 to 1 for each class.

    It is the Dice to be expected where the probabilities are calibrated, see `expected_dice`.

    Args:
        maps: probabilities (..., M).
        masks: 0/1 of the same shape.
    """
    classes = range(maps.shape[-1])
    return np.array([expected_dice(maps[..., k], masks[..., k]) for k in classes])


def as_coco(masks, image, first):
    """The objects of an image as annotations of COCO; holes are joined to the outer ring.

    Args:
        masks: 0/1 (H, W, M); class k is category k + 1.
        image, first: the ids of the image and of the first annotation.
    """
    found = []
    for k in range(masks.shape[-1]):
        for rings in trace_objects(masks[..., k]):
            (x, y), (right, bottom) = rings[0].min(axis=0), rings[0].max(axis=0)
            found.append(
                {
                    **{"id": first + len(found), "image_id": image, "category_id": k + 1},
                    "segmentation": [leave_out_straight(join_holes(rings)).ravel().tolist()],
                    "bbox": [int(n) for n in (x, y, right - x, bottom - y)],
                    "area": abs(sum(map(measure_area, rings))),
                    "iscrowd": 0,
                }
            )
    return found


def as_labelme(masks, classes, image_path):
    """The content of a file of LabelMe.

    Args:
        masks: 0/1 (H, W, M).
        classes: names.
        image_path: of the image, seen from the file.
    """
    shapes = []
    for k, name in enumerate(classes):
        for rings in trace_objects(masks[..., k], sides=False):
            points = leave_out_straight(join_holes(rings)).tolist() or rings[0][:1].tolist()
            points += points[-1:] * (3 - len(points))  # a polygon has three at least
            shape = {"label": name, "points": points, "shape_type": "polygon"}
            shapes.append({**shape, "group_id": None, "flags": {}})
    height, width = masks.shape[:2]
    return {
        **{"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": image_path},
        **{"imageData": None, "imageHeight": height, "imageWidth": width},
    }


def as_geojson(masks, classes):
    """The objects of an image as GeoJSON: a polygon with holes each, in pixels, y downwards.

    Args:
        masks: 0/1 (H, W, M).
        classes: names.
    """
    features = []
    for k, name in enumerate(classes):
        for rings in trace_objects(masks[..., k]):
            closed = []
            for i, ring in enumerate(map(leave_out_straight, rings)):
                if (measure_area(ring) > 0) != (i == 0):  # the outer one is wanted as positive
                    ring = ring[::-1]
                closed.append([*ring.tolist(), ring[0].tolist()])
            shape = {"type": "Polygon", "coordinates": closed}
            about = {"objectType": "annotation", "classification": {"name": name}}
            features.append({"type": "Feature", "geometry": shape, "properties": about})
    return {"type": "FeatureCollection", "features": features}


def measure_area(ring):
    """The area inside a ring in pixels; its sign tells which way round it goes."""
    x, y = ring.T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


@dataclass
class AnnotationWriter:
    """Writes outlines of images as they are predicted, and lists them, the least certain first.

    Attributes:
        out: folder.
        task: Task.
        kinds: of "coco", "labelme" and "geojson".
        spread: whether STEM_spread.png is written: in each pixel the largest standard deviation of
            all classes, 255 is 0.5, the most that probabilities can have. Of a volume it is
            STEM_spread.nii.gz, float32 on its own grid.
        rows: of certainty.csv.
        annotations: name of an Input -> (file name, size, objects) for COCO.
    """

    out: Path
    task: Task
    kinds: tuple
    spread: bool
    rows: list = field(default_factory=list)
    annotations: dict = field(default_factory=dict)

    def name_files(self, item):
        """Names of the files that are written for an Input alone."""
        suffixes = {"labelme": ".json", "geojson": ".geojson"}
        names = [item.name + suffixes[kind] for kind in self.kinds if kind in suffixes]
        return [*names, self.name_spread(item)] if self.spread else names

    def name_spread(self, item):
        return f"{item.name}_spread.{'png' if self.task.field is None else 'nii.gz'}"

    def refuse(self, found, models):
        """Raise InputError if an Input is no picture, a file may hold corrections by hand, or there
        are no models that could differ."""
        if self.spread and models == 1:
            raise InputError("--spread: needs several models; give two or more by --model.")
        if self.kinds and self.task.field is not None:
            raise InputError(f"--contours: the task {self.task.name} is on volumes, not pictures.")
        for item in found if self.kinds else ():
            if is_dicom(item.files[0]):
                raise InputError(
                    f"{item.files[0]}: --contours is for pictures, and this is DICOM; leave it out."
                )
        names = [name for item in found for name in self.name_files(item) if "json" in name]
        if "coco" in self.kinds and COCO_FILE in names:
            raise InputError(
                f"{COCO_FILE}: is written for all images; rename the one of that name."
            )
        for name in [*names, *([COCO_FILE] if "coco" in self.kinds else [])]:
            if (self.out / name).exists():
                raise InputError(
                    f"{self.out / name}: is there, perhaps corrected by hand; give another --out."
                )

    def add(self, item, maps, masks, deviations=None):
        """Take probabilities, masks and, with `spread`, standard deviations of an Input."""
        if self.spread:
            self.save_spread(item, deviations.max(axis=-1))
        certainty = measure_certainty(maps, masks)
        classes, file = self.task.classes, item.files[0]
        own = dict(zip(classes, np.round(certainty, 4).tolist(), strict=True))
        self.rows.append(
            {"name": item.name, "file": str(file), "certainty": min(own.values()), **own}
        )
        if "labelme" in self.kinds:
            path = os.path.relpath(file.resolve(), self.out.resolve())
            write_json(
                self.out / f"{item.name}.json", as_labelme(masks, classes, Path(path).as_posix())
            )
        if "geojson" in self.kinds:
            write_json(self.out / f"{item.name}.geojson", as_geojson(masks, classes))
        if "coco" in self.kinds:
            self.annotations[item.name] = (file.name, masks.shape[:2], as_coco(masks, 0, 0))

    def save_spread(self, item, values):
        path = self.out / self.name_spread(item)
        if self.task.field is None:
            save_png(path, np.round(values * 510).astype("uint8"))
        else:
            from transfuse_keras.data.volumes import save_on_grid

            save_on_grid(item.sources[0], path, values)

    def finish(self):
        """Write certainty.csv, and for COCO its file, whose images are in the same order."""
        if not self.rows:
            return
        self.rows.sort(key=lambda row: row["certainty"])
        write_table(self.out / LIST, self.rows)
        if "coco" not in self.kinds:
            return
        images, objects = [], []
        for number, row in enumerate(self.rows, 1):
            name, (height, width), own = self.annotations[row["name"]]
            image = {"id": number, "file_name": name, "height": height, "width": width}
            images.append({**image, "certainty": row["certainty"]})
            for item in own:
                objects.append({**item, "id": len(objects) + 1, "image_id": number})
        names = enumerate(self.task.classes, 1)
        categories = [{"id": k, "name": name, "supercategory": ""} for k, name in names]
        content = {"images": images, "annotations": objects, "categories": categories}
        write_json(self.out / COCO_FILE, content)
