"""Masks as DICOM SEG (highdicom): what a PACS and its viewers keep beside the images.

One SEG belongs to one file of one or several frames, or to the slices of one series. It holds a
segment a class, on the pixel grid of its images, and says of every frame which image it is of.
"""

import hashlib
import json
import uuid
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from pydicom.uid import UID

from transfuse_keras import __version__
from transfuse_keras.data.dicom_pixels import name_fault
from transfuse_keras.data.quiet import reading
from transfuse_keras.errors import InputError
from transfuse_keras.files import replacing
from transfuse_keras.inference.dicom_frames import (
    add_frames,
    find_positions,
    is_stack,
    keep_first_frame,
)
from transfuse_keras.inference.dicom_header import complete, number_series

SEG_KINDS = ("binary", "fractional")
TOP = 255  # the fraction that is a probability of 1
SOFTWARE = "transfuse-keras"
# of classes without a coded term: a code of our own, and a category that claims nothing
PRIVATE = "99TRANSFUSE"
CATEGORY = ("309825002", "SCT", "Spatial and Relational Concept")
NAMESPACE = uuid.UUID("5f0a5f7e-6f0e-4f57-9c52-6b2f2f7c1f7a")


def import_highdicom():
    """The package highdicom; InputError if it is missing."""
    try:
        import highdicom
    except ImportError as error:
        raise InputError(
            f"A DICOM SEG needs {error.name}: pip install 'transfuse-keras[dicom]'."
        ) from error
    return highdicom


def compute_origin(model_path, *settings):
    """What a SEG comes from besides its images, as text: the digest of the model, the version of
    this package, and settings that change the masks."""
    files = [model_path]
    if model_path.is_dir():
        kept = model_path / "model.keras"
        files = [kept] if kept.is_file() else sorted(filter(Path.is_file, model_path.rglob("*")))
    elif model_path.suffix == ".xml":  # OpenVINO keeps the weights beside it
        files.append(model_path.with_suffix(".bin"))
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return " ".join([digest.hexdigest(), __version__, *map(str, settings)])


def digest_task(task):
    """What of a task changes a SEG, as short text: what its classes are called and mean, and how
    images are read."""
    terms = [task.coded_terms(name) for name in task.classes]
    named = task.name, task.classes, terms, task.exclusive, task.mirror_pairs
    read = task.value_range, task.dicom_range, task.field, task.context
    text = json.dumps([*named, *read], default=float)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def derive_uid(*parts):
    """A UID that is the same whenever the texts it is made of are."""
    return UID(f"2.25.{uuid.uuid5(NAMESPACE, ' '.join(parts)).int}")


def derive_segmentation_uid(instances, origin):
    """The SOPInstanceUID of the SEG of images, whose own are `instances` in any order."""
    return derive_uid("SEG", *sorted(map(str, instances)), origin)


def derive_series_uid(series, origin):
    """The SeriesInstanceUID of the SEGs of a series, or of its files; `series` is its own."""
    return derive_uid("series", series, origin)


def save_segmentation(path, headers, values, task, origin, kind="binary"):
    """Write a DICOM SEG.

    Its UIDs depend on the images and on `origin` alone, so that the same done again is the same
    object, for a PACS too.

    Args:
        path: the file to write.
        headers: pydicom Datasets of the images: one, of one or more frames, or the slices of a
            series in the order in which they lie.
        values: uint8 (F, H, W, M), one for each frame or slice, on the grid of the images: 0/1, or
            for "fractional" probabilities times 255.
        task: Task.
        origin: as of `compute_origin`.
        kind: one of SEG_KINDS.

    Returns: the SEG as it was written, a highdicom Segmentation.

    Raises: InputError if highdicom is missing, or if the images lack what a SEG needs.
    """
    import_highdicom()
    with reading():
        with making("DICOM SEG", headers[0], path, "give --seg none"):
            made = make_segmentation(headers, values, task, origin, kind)
        with replacing(path) as temporary:
            made.save_as(temporary)
    return made


@contextmanager
def making(what, header, path, otherwise):
    """Turn any error into an InputError that names the image, or what is to be written of it."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        where = getattr(header, "filename", None) or path
        raise InputError(
            f"{where}: no {what} can be made for it ({name_fault(error)}); mend the file, or "
            f"{otherwise}."
        ) from error


def make_segmentation(headers, values, task, origin, kind):
    """The SEG as a highdicom Segmentation; arguments as of `save_segmentation`."""
    from highdicom.seg import Segmentation

    headers = [complete(header, task) for header in headers]
    first, instances = headers[0], [header.SOPInstanceUID for header in headers]
    kind_of_image, frames = first.SOPClassUID, values
    positions = find_positions(first, len(values)) if len(headers) == 1 else None
    alone = len(headers) == 1 and not is_stack(first, positions)
    if alone:
        keep_first_frame(first, positions)
        frames = values[:1]
    made = Segmentation(
        source_images=headers,
        pixel_array=frames / np.float32(TOP) if kind == "fractional" else frames,
        segmentation_type=kind.upper(),
        segment_descriptions=[describe_segment(i, task, origin) for i in range(values.shape[-1])],
        series_instance_uid=derive_series_uid(first.SeriesInstanceUID, origin),
        series_number=number_series(first, 1000),
        sop_instance_uid=derive_segmentation_uid(instances, origin),
        instance_number=int(first.get("InstanceNumber") or 1) if len(headers) == 1 else 1,
        manufacturer=SOFTWARE,
        manufacturer_model_name=task.name,
        software_versions=__version__,
        device_serial_number=origin[:16],
        max_fractional_value=TOP,
        content_description=f"{task.name}: {', '.join(task.classes)}"[:64],
        series_description=f"{SOFTWARE} {task.name}"[:64],
        omit_empty_frames=False,  # so that "nothing found" is told from "not looked at"
    )
    if "PlaneOrientationSequence" not in made.SharedFunctionalGroupsSequence[0]:
        made.PatientOrientation = first.get("PatientOrientation")
    if alone:
        for element in made.iterall():
            if element.keyword == "ReferencedSOPClassUID":
                element.value = kind_of_image
    if len(values) > len(frames):
        add_frames(made, values, kind, positions)
    return made


def describe_segment(index, task, origin):
    """The highdicom SegmentDescription of class `index`."""
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription
    from highdicom.sr import CodedConcept
    from pydicom.sr.codedict import codes

    name = task.classes[index]
    kind, category, modifier = pad_terms(task, name)
    digest, version, *settings = origin.split(" ")
    algorithm = AlgorithmIdentificationSequence(
        *(f"{SOFTWARE} {task.name}", codes.DCM.ArtificialIntelligence, version),
        parameters={"model": digest, "settings": " ".join(settings)},
    )
    made = SegmentDescription(
        segment_number=index + 1,
        segment_label=name[:64],
        segmented_property_category=CodedConcept(*category),
        segmented_property_type=CodedConcept(*kind),
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
    )
    if modifier is not None:
        (item,) = made.SegmentedPropertyTypeCodeSequence
        item.SegmentedPropertyTypeModifierCodeSequence = [CodedConcept(*modifier)]
    return made


def pad_terms(task, name):
    """(type, category, modifier or None) of a class, each (value, scheme, meaning)."""
    terms = task.coded_terms(name) or ((name, PRIVATE, name[:64]),)
    return (*terms, *(None, CATEGORY, None)[len(terms) :])
