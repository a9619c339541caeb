"""Images with outlines, as annotation tools write them: COCO and LabelMe JSON, CVAT XML, YOLO.

Each format has a file of its own beside this one; here their objects become masks and samples.
"""

from fnmatch import fnmatch
from functools import partial

from transfuse_keras.data.class_names import distinct, is_background, plain
from transfuse_keras.data.layouts import coco, cvat, labelme, yolo
from transfuse_keras.data.layouts.folders import (
    IMAGE_FOLDERS,
    find_mask_folders,
    holds_images,
    subfolders,
)
from transfuse_keras.data.layouts.groups import Clue
from transfuse_keras.data.layouts.listing import (
    Listing,
    find_split_word,
    read_header,
    without_suffix,
)
from transfuse_keras.data.layouts.objects import (
    IGNORE,
    Annotations,
    ImageFiles,
    count_overlap,
    draw_masks,
    files_below,
    read_annotated,
)
from transfuse_keras.data.layouts.tables import read_tables
from transfuse_keras.data.samples import Sample
from transfuse_keras.errors import InputError, blaming
from transfuse_keras.files import read_json

LOOKED_FOR = "images with the JSON of COCO or LabelMe, the XML of CVAT or the data.yaml of YOLO"
# each has fits(content) and add(path, content, files, found)
ANNOTATIONS = {"COCO": coco, "LabelMe": labelme, "CVAT": cvat, "YOLO": yolo}
ANNOTATION_READERS = {".json": read_json, ".xml": cvat.read, ".yaml": yolo.read, ".yml": yolo.read}


def find(task, directory, spacing=None, masks=None):
    """Listing of the images that have annotations, or None without any.

    Args:
        task, directory, spacing: as of `find_samples`.
        masks: name of the file of annotations, which may hold * and ?; None to find it.

    Raises: InputError if the annotations cannot be used, or there are masks besides.
    """
    found = read_annotations(directory, masks)
    if found is None:
        return None
    if task.field is not None:
        raise InputError(f"{directory}: holds images, but the task {task.name} is on volumes.")
    if masks is None:
        refuse_masks(directory, found.file)
    listing = Listing(errors=found.errors, warnings=found.warnings, notes=found.notes)
    more = len({item.file for item in found.images} - {found.file})
    others = f" and {more} other files" if more else ""
    listing.notes.append(f"Masks are drawn from {found.form}: {found.file}{others}.")
    indices = match_classes(found, task, listing)
    names = name_images(found.images, listing.errors)
    images = {name: item.image for name, item in zip(names, found.images, strict=True)}
    told = any(item.split for item in found.images)
    tables = read_tables(directory, images, listing, lists=False if told else "known")
    for item, name in zip(found.images, names, strict=True):
        header = read_header(item.image, tables.spacings.get(name), listing)
        if header is None:
            continue
        patient, own_spacing = header
        folder, _, stem = name.rpartition("/")
        split = item.split or tables.splits.get(name) or find_split_word(folder)
        folder = "/".join(x for x in folder.split("/") if find_split_word(x) is None)
        draw = partial(draw_masks, item.objects, indices, len(task.classes), task.exclusive)
        read = partial(read_annotated, item, draw, task.channels, **task.ranges)
        overlap = partial(count_overlap, item, indices, len(task.classes))
        listing.samples.append(
            Sample(
                *(name, name, own_spacing or spacing, read, split),
                files=(item.image, item.file),
                overlap=overlap,
            )
        )
        listing.clues[name] = Clue(stem, folder, tables.groups.get(name), patient)
    return listing


def read_annotated_classes(directory, masks=None):
    """Names of the classes that annotations name, or None without annotations."""
    found = read_annotations(directory, masks)
    names = [] if found is None else found.classes
    return tuple(distinct(x for x in names if not is_background(x) and x != IGNORE)) or None


def read_annotations(directory, wanted=None):
    """The Annotations of the one format that is below a folder, or None.

    Args:
        directory: Path.
        wanted: name of the file, which may hold * and ?; None for all.

    Raises: InputError if a file is not as its format has it, or there are several formats.
    """
    files, found, damaged = None, {}, []
    paths = [x for x in files_below(directory) if wanted is None or fnmatch(x.name, wanted)]
    for path in paths:
        try:
            content = ANNOTATION_READERS.get(path.suffix.lower(), lambda path: None)(path)
        except InputError as error:
            if path.suffix.lower() != ".json":
                raise
            damaged.append(str(error))  # it may be something else than annotations
            continue
        for name, form in ANNOTATIONS.items():
            if form.fits(content):
                files = files or ImageFiles(directory)
                with blaming(path, f"not as {name} writes it"):
                    form.add(path, content, files, found.setdefault(name, Annotations(path, name)))
    if len(found) > 1:
        raise InputError(
            f"{directory}: holds annotations of {' and of '.join(found)}; choose by --masks, as in "
            f"--masks {next(iter(found.values())).file.name}."
        )
    for annotations in found.values():
        annotations.errors += damaged
        used = {item.image for item in annotations.images}
        folders = {image.parent for image in used}
        if rest := [x for x in files.list() if x.parent in folders and x not in used]:
            annotations.warnings.append(
                f"{rest[0]}: has no annotations, so it is not used; so are {len(rest)} in all."
            )
        return annotations
    return None


def refuse_masks(directory, file):
    """Raise InputError if a folder holds files of masks besides a file of annotations."""
    for folder in (directory, *directory.glob("*/"), *directory.glob("*/*/")):
        children = subfolders(folder)
        masks = [path for path in find_mask_folders(children, None) if holds_images(path)]
        if masks and any(path.name.lower() in IMAGE_FOLDERS for path in children):
            raise InputError(
                f"{directory}: masks may be meant by {masks[0]} and by {file}; choose by --masks "
                f"{masks[0].name} or --masks {file.name}."
            )


def match_classes(found, task, listing):
    """{name of a class in the annotations: index in the task, None for background, or IGNORE};
    what the task lacks is not there.

    Names are the same whatever their case and the signs between their words. A single class is the
    single class of the task, whatever it is called.

    Raises: InputError if a class of the task may be meant by another name.
    """
    wanted = {plain(name): k for k, name in enumerate(task.classes)}
    indices, others = {}, []
    for name in found.classes:
        if plain(name) in wanted:
            indices[name] = wanted[plain(name)]
        elif is_background(name):
            indices[name] = None
        elif name == IGNORE:
            indices[name] = IGNORE
        else:
            others.append(name)
    missing = [name for k, name in enumerate(task.classes) if k not in indices.values()]
    if len(others) == len(missing) == len(task.classes) == 1:
        listing.notes.append(f"The class {others[0]} of {found.file} is taken for {missing[0]}.")
        indices[others.pop()] = 0
    file = found.file
    if others and missing:
        raise InputError(
            f"{file}: has the classes {', '.join(found.classes)}, but not {', '.join(missing)} of "
            f"the task {task.name}; name them alike."
        )
    counts = {name: 0 for name in [*others, IGNORE]}
    for item in found.images:
        for drawn in item.objects:
            if drawn.name in counts:
                counts[drawn.name] += 1
    if counts[IGNORE] and task.ignore is None:
        listing.errors.append(
            f"{file}: has {counts[IGNORE]} objects {IGNORE}, to be left out; give ignore=255 in a "
            "task file."
        )
    if unused := [f"{counts[name]} of {name}" for name in others if counts[name]]:
        listing.warnings.append(
            f"{file}: objects of classes that the task {task.name} lacks are background: "
            f"{', '.join(unused)}."
        )
    return indices


def name_images(items, errors):
    """Names of samples: stems, with the folders before them if there are several. Images that are
    there twice are added to `errors`."""
    parents = {item.image.parent for item in items}
    common = next(iter(parents)) if parents else None
    while common is not None and not all(x.is_relative_to(common) for x in parents):
        common = common.parent
    names, seen = [], {}
    for item in items:
        inner = item.image.relative_to(common)
        name = (inner.parent / without_suffix(inner.name.removesuffix(".json"))).as_posix()
        if name in seen:
            first, now = seen[name], item.image
            what = "is annotated twice" if first == now else f"has the same name as {first}"
            errors.append(f"{now}: {what}; take one out, or choose annotations by --masks.")
        seen[name] = item.image
        names.append(name)
    return names
