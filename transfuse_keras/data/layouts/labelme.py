"""LabelMe JSON: one file an image, which names the image or holds it.

Shapes are drawn with Pillow as LabelMe itself draws them when it exports masks: outlines belong to
the shape, lines are 10 pixels wide, points have a radius of 5.
"""

import base64
import io
from functools import partial

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from transfuse_keras.data.decode import IMAGE_FORMATS
from transfuse_keras.data.layouts.objects import Annotated, Object, as_ring
from transfuse_keras.data.quiet import reading
from transfuse_keras.data.readers import picture_pixels
from transfuse_keras.errors import InputError, first_line
from transfuse_keras.files import read_json

LINE, POINT = 10, 5  # pixels: width and radius
POINTS = {"circle": 2, "rectangle": 2, "line": 2, "point": 1, "oriented_rectangle": 4, "mask": 2}
SHAPE_KINDS = (*POINTS, "polygon", "linestrip")


def fits(content):
    """Whether the content of a JSON file is LabelMe's."""
    return isinstance(content, dict) and "imagePath" in content and "shapes" in content


def add(path, content, files, found):
    """Add the image of a file to Annotations; arguments as of coco.add.

    Raises: InputError if a shape is none of LabelMe's.
    """
    objects, lines = [], False
    for number, shape in enumerate(content["shapes"], 1):
        kind = shape.get("shape_type") or "polygon"
        points = as_ring([x for point in shape["points"] for x in point])
        if kind not in SHAPE_KINDS or len(points) != POINTS.get(kind, len(points)):
            raise InputError(
                f"{path}: shape {number} is a {kind} of {len(points)} points, which LabelMe does "
                "not draw; outline the object as a polygon."
            )
        lines |= kind in ("line", "linestrip", "point")
        mask = decode_mask(shape["mask"]) if kind == "mask" else None
        draw = partial(draw_shape, kind, [tuple(x) for x in points.tolist()], mask)
        objects.append(Object(str(shape["label"]), draw))
    found.classes = sorted({*found.classes, *(item.name for item in objects)})
    note = f"Lines and points are drawn {LINE} pixels wide, as LabelMe does."
    if lines and note not in found.notes:
        found.notes.append(note)
    size = (content.get("imageHeight"), content.get("imageWidth"))
    size = size if all(size) else None
    image, problem = files.find(content["imagePath"], path)
    if image is not None:
        found.images.append(Annotated(image, path, objects, size, files.split_of(path)))
    elif content.get("imageData"):
        embedded = Annotated(path, path, objects, size, files.split_of(path), read_embedded_image)
        found.images.append(embedded)
    else:
        found.errors.append(problem)


def decode_mask(text):
    """The mask of a shape that is no outline: bool (h, w)."""
    with Image.open(io.BytesIO(base64.b64decode(text)), formats=["PNG"]) as picture:
        return np.asarray(picture) > 0


def draw_shape(kind, points, mask, size):
    """A shape of LabelMe as bool (height, width).

    Args:
        kind: one of SHAPE_KINDS.
        points: list of (x, y).
        mask: of the kind "mask": bool (h, w), whose top left corner is the first point.
        size: (height, width) of the image.
    """
    picture = Image.new("L", size[::-1])
    pen = ImageDraw.Draw(picture)
    if kind == "mask":
        left, top = (round(x) for x in points[0])
        pen.bitmap((left, top), Image.fromarray(mask), fill=1)
    elif kind in ("circle", "point"):
        (x, y), *edge = points
        radius = np.hypot(x - edge[0][0], y - edge[0][1]) if edge else POINT
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1, outline=1)
    elif kind == "rectangle":
        pen.rectangle((*np.min(points, axis=0), *np.max(points, axis=0)), fill=1, outline=1)
    elif kind in ("line", "linestrip"):
        joint = "curve" if kind == "linestrip" else None
        pen.line(points, fill=1, width=LINE, joint=joint)
    elif len(points) > 2:
        pen.polygon(points, fill=1, outline=1)
    return np.array(picture, bool)


def read_embedded_image(path, channels=3, value_range=None, dicom_range=None):
    """The image that a file of LabelMe holds, which is no DICOM; as `read_image`."""
    try:
        data = base64.b64decode(read_json(path)["imageData"])
        with reading(), Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as picture:
            return picture_pixels(ImageOps.exif_transpose(picture), channels, value_range, path)
    except InputError:
        raise
    except Exception as error:  # whatever Pillow raises
        reason = first_line(error)
        raise InputError(
            f"{path}: its imageData is not a readable image ({reason}); save it again in LabelMe."
        ) from error
