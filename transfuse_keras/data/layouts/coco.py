"""COCO JSON: one file with the images, the categories and the objects of all images."""

from collections import Counter
from functools import partial

import cv2

from transfuse_keras.data.layouts.listing import find_split_word
from transfuse_keras.data.layouts.objects import Annotated, Object, as_ring
from transfuse_keras.data.shapes import decode_runs, fill_rings
from transfuse_keras.errors import InputError


def fits(content):
    """Whether the content of a JSON file is COCO's."""
    return isinstance(content, dict) and all(
        isinstance(content.get(part), list) for part in ("images", "annotations", "categories")
    )


def add(path, content, files, found):
    """Add the images of a file to Annotations.

    Args:
        path: Path of the file.
        content: its content.
        files: ImageFiles.
        found: Annotations; changed.

    Raises: InputError if the file holds boxes instead of outlines, or what COCO does not know.
    """
    names = {x["id"]: str(x["name"]) for x in content["categories"]}
    split = find_split_word(path.stem) or files.split_of(path)
    objects, counts, crowds = {x["id"]: [] for x in content["images"]}, Counter(), 0
    outlines = Counter()
    if len(objects) < len(content["images"]):
        raise ValueError("two images have the same id")
    for item in content["annotations"]:
        where = f"{path}, object {item.get('id')}"
        if item["image_id"] not in objects:
            raise InputError(f"{where}: its image_id {item['image_id']} is that of no image.")
        if item["category_id"] not in names:
            raise InputError(f"{where}: its category_id {item['category_id']} is no category.")
        name = names[item["category_id"]]
        counts[name] += 1
        crowds += bool(item.get("iscrowd"))
        draw, unusual = as_drawing(item, where)
        outlines += unusual
        objects[item["image_id"]].append(Object(name, draw))
    # Roboflow writes a first category that is the parent of the others and has no objects
    parents = {x.get("supercategory") for x in content["categories"]}
    found.add_classes(
        names[key] for key in sorted(names) if counts[names[key]] or names[key] not in parents
    )
    if crowds:
        found.notes.append(
            f"{path}: regions of many objects (iscrowd) are read as their class: {crowds}."
        )
    if outlines["inner"]:
        found.warnings.append(
            f"{path}: outlines inside another one of their object are filled: {outlines['inner']}. "
            "COCO has no outlines of holes; only run lengths can have holes."
        )
    if outlines["flat"]:
        found.warnings.append(
            f"{path}: outlines of fewer than three points cover nothing: {outlines['flat']}."
        )
    for item in content["images"]:
        image, problem = files.find(item["file_name"], path, split)
        if image is None:
            found.errors.append(problem)
            continue
        size = (item["height"], item["width"]) if item.get("height") else None
        found.images.append(Annotated(image, path, objects[item["id"]], size, split))


def as_drawing(item, where):
    """(function that draws an object, Counter of its outlines that are flat or inner ones)."""
    shape = item.get("segmentation")
    if not shape:
        raise InputError(
            f"{where}: has a box but no outline (segmentation), so its mask is unknown; outline it "
            "or take it out."
        )
    if isinstance(shape, dict):
        return partial(decode_runs, shape["counts"], tuple(shape["size"]), where), Counter()
    rings = [as_ring(ring) for ring in shape]
    filled = [ring for ring in rings if len(ring) > 2]
    flat, inner = len(rings) - len(filled), sum(lies_inside(ring, filled) for ring in filled)
    return partial(fill_rings, filled), Counter(flat=flat, inner=inner)


def lies_inside(ring, rings):
    """Whether an outline lies inside another one, as the outline of a hole would."""
    return any(
        all(cv2.pointPolygonTest(other.astype("float32"), point, False) >= 0 for point in ring)
        for other in rings
        if other is not ring
    )
