"""CVAT XML, "CVAT for images 1.1": one file with all images, each with its shapes."""

from functools import partial
from xml.etree import ElementTree

import numpy as np

from transfuse_keras.data.layouts.listing import find_split_word
from transfuse_keras.data.layouts.objects import Annotated, Object, as_ring
from transfuse_keras.data.shapes import expand_runs, fill_ellipse, fill_ring, turn
from transfuse_keras.errors import InputError

WITHOUT_AREA = ("polyline", "points", "tag", "cuboid", "skeleton")


def read(path):
    """The root of an XML file of CVAT, None if it is another one.

    Raises: InputError if it is CVAT's but cannot be read.
    """
    with path.open("rb") as file:
        if b"<annotations" not in file.read(1000):
            return None
    try:
        return ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # encodings too
        raise InputError(f"{path}: damaged, not XML ({error}); export it anew.") from error


def fits(root):
    """Whether the root of an XML file is CVAT's."""
    return isinstance(root, ElementTree.Element) and root.tag == "annotations"


def add(path, root, files, found):
    """Add the images of a file to Annotations; arguments as of coco.add.

    Raises: InputError if it holds tracks of a video.
    """
    if root.find("track") is not None:
        raise InputError(
            f"{path}: holds tracks of a video; export it as 'CVAT for images 1.1' or as COCO."
        )
    found.add_classes(
        label.findtext("name")
        for label in root.iterfind("meta//labels/label")
        if label.find("parent") is None  # else a point of a skeleton
    )
    left_out = 0
    for item in root.iterfind("image"):
        size = int(item.get("height")), int(item.get("width"))
        shapes = [x for x in item if x.tag in DRAWN]
        left_out += sum(x.tag in WITHOUT_AREA for x in item)
        shapes.sort(key=lambda x: int(x.get("z_order", 0)))
        objects = [Object(x.get("label"), DRAWN[x.tag](x, size)) for x in shapes]
        found.add_classes(x.name for x in objects)
        split = find_split_word(item.get("subset", ""))
        image, problem = files.find(item.get("name"), path, split)
        if image is None:
            found.errors.append(problem)
            continue
        found.images.append(Annotated(image, path, objects, size, split))
    if left_out:
        found.warnings.append(
            f"{path}: lines, points, tags, cuboids and skeletons have no area and are not drawn: "
            f"{left_out}."
        )


def read_polygon(shape, size):
    points = [point.split(",") for point in shape.get("points").split(";")]
    return partial(fill_ring, as_ring([float(x) for point in points for x in point]))


def read_box(shape, size):
    left, top, right, bottom = (float(shape.get(x)) for x in ("xtl", "ytl", "xbr", "ybr"))
    corners = as_ring([left, top, right, top, right, bottom, left, bottom])
    return partial(fill_ring, turn(corners, float(shape.get("rotation", 0))))


def read_ellipse(shape, size):
    values = [float(shape.get(name)) for name in ("cx", "cy", "rx", "ry")]
    center, radii = as_ring(values)
    if radii.min() <= 0:
        raise ValueError("an ellipse has no area")
    return partial(fill_ellipse, center, radii, float(shape.get("rotation", 0)))


def read_run_lengths(shape, size):
    left, top, width, height = (int(shape.get(x)) for x in ("left", "top", "width", "height"))
    if min(left, top) < 0 or left + width > size[1] or top + height > size[0]:
        raise ValueError("a mask lies outside its image")
    counts = [int(x) for x in shape.get("rle").split(",")]
    if sum(counts) != width * height or min(counts) < 0:
        raise ValueError(f"run lengths of {sum(counts)} pixels for a mask of {width}x{height}")
    return partial(place_mask, counts, slice(top, top + height), slice(left, left + width))


def place_mask(counts, rows, columns, size):
    """Run lengths along the rows of a part of an image, as bool (height, width)."""
    mask = np.zeros(size, bool)
    part = mask[rows, columns]
    part[:] = expand_runs(counts, part.size).reshape(part.shape)
    return mask


# functions of a shape and (height, width) of its image -> a function that draws it
DRAWN = {
    "polygon": read_polygon,
    "box": read_box,
    "ellipse": read_ellipse,
    "mask": read_run_lengths,
}
