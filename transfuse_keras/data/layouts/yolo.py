"""YOLO's outlines: data.yaml names classes and images, labels/x.txt has the outlines of images/x.

A line is the number of the class, then x and y of each corner, in shares of width and height.
"""

from functools import partial
from os.path import normpath
from pathlib import Path, PurePosixPath

from transfuse_keras.data.layouts.listing import is_image
from transfuse_keras.data.layouts.objects import Annotated, Object, as_ring, files_below
from transfuse_keras.data.samples import SPLITS
from transfuse_keras.data.shapes import fill_relative_ring
from transfuse_keras.errors import InputError, blaming

BOX = 5  # numbers of a line that is a box: class, centre, width, height


def read(path):
    """The content of a YAML file; None if it is another one than YOLO's."""
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return None


def fits(content):
    """Whether the content of a YAML file is YOLO's."""
    return isinstance(content, dict) and "names" in content and "train" in content


def add(path, content, files, found):
    """Add the images that a file names to Annotations; arguments as of coco.add.

    Raises: InputError if a file has boxes, or is none of YOLO's.
    """
    names = content["names"]
    names = dict(enumerate(names)) if isinstance(names, list) else names
    names = {int(key): str(name) for key, name in names.items()}
    found.add_classes(names[key] for key in sorted(names))
    root, unlabelled, total = path.parent / str(content.get("path") or ""), 0, 0
    for split in SPLITS:
        places = content.get(split) or ()
        for place in [places] if isinstance(places, str) else places:
            for image in find_split_images(place, root, path, files, found):
                labels = find_labels(image)
                total += 1
                unlabelled += labels is None
                objects = read_objects(labels, names) if labels else []
                found.images.append(Annotated(image, labels or path, objects, split=split))
    if total and unlabelled == total:
        raise InputError(f"{path}: none of its images has a file in labels/; add them.")
    if unlabelled:
        found.notes.append(
            f"{path}: {unlabelled} of {total} images have no file in labels/: nothing is in them."
        )


def find_split_images(place, root, path, files, found):
    """The images of a split: those of a folder, or those that a text file lists.

    What is missing is added to `found.errors`.
    """
    # Roboflow writes ../train/images for a folder beside the file
    inner = PurePosixPath(place.replace("\\", "/"))
    relative = Path(*(x for x in inner.parts if x not in ("..", "/")))
    spots = [root / inner, path.parent / inner, path.parent / relative]
    spot = next((Path(normpath(x)) for x in spots if x.exists()), None)
    if spot is None:
        found.errors.append(f"{path}: names {place}, which is missing; add it or take it out.")
        return []
    if spot.is_dir():
        return [image for image in files_below(spot) if is_image(image)]
    with blaming(spot, "not a list of images"):
        lines = [x.strip() for x in spot.read_text(encoding="utf-8-sig").splitlines()]
    matches = [files.find(line, spot) for line in lines if line]
    found.errors += [problem for image, problem in matches if image is None]
    return [image for image, _ in matches if image is not None]


def find_labels(image):
    """The file of the outlines of an image: in labels/ instead of images/, else beside it; None
    if there is none."""
    parts = list(image.with_suffix(".txt").parts)
    places = [k for k, part in enumerate(parts[:-1]) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
    file = Path(*parts)
    return file if file.is_file() else None


def read_objects(path, names):
    """The list of Objects of a file of outlines.

    Raises: InputError if a line is a box, or no outline of a known class.
    """
    objects = []
    with blaming(path, "not a file of YOLO's outlines"):
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        for number, line in enumerate(lines, 1):
            words = line.split()
            if len(words) == BOX:
                raise InputError(
                    f"{path}: line {number} is a box, not an outline; export the data for "
                    "segmentation."
                )
            if not words:
                continue
            if int(words[0]) not in names:
                raise InputError(f"{path}: line {number} has the class {words[0]}, without a name.")
            ring = as_ring([float(x) for x in words[1:]])
            if len(ring) < 3:
                raise ValueError(f"line {number} has {len(words) - 1} numbers")
            if ring.min() < -1 or ring.max() > 2:
                raise ValueError(f"line {number} is not in shares of width and height")
            objects.append(Object(names[int(words[0])], partial(fill_relative_ring, ring)))
    return objects
