"""The header of an image as highdicom reads it, when it makes a SEG or SR of that image."""

from copy import deepcopy

import numpy as np
from pydicom.charset import python_encoding

# DICOM wants these to be there, even if empty; files that were made anonymous often lack them
PATIENT = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex")
STUDY = ("StudyID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName")
TEXTS_OF_STUDY = (*STUDY, "StudyDescription")
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
LARGEST_NUMBER = 2**31 - 1  # of a VR IS
PLAIN, UNICODE = "ISO_IR 6", "ISO_IR 192"


def complete(header, task):
    """A copy of a header: what DICOM wants to be there is, if empty, a frame of reference only
    where the image has a place in it, and all names of the task can be written beside its texts.

    Raises: ValueError if its texts cannot be read, or it lacks a UID or has a damaged number.
    """
    header = deepcopy(header)
    for name in UIDS:
        if not header.get(name):
            raise ValueError(f"it lacks {name}")
    for name, count in (("PixelSpacing", 2), ("SeriesNumber", 1), ("InstanceNumber", 1)):
        check_numbers(header, name, count)
    if "ImagePositionPatient" not in header and "PerFrameFunctionalGroupsSequence" not in header:
        header.pop("FrameOfReferenceUID", None)
    for name in (*PATIENT, *STUDY):
        if name not in header:
            setattr(header, name, None)
    if not header.get("SpecificCharacterSet"):
        header.pop("SpecificCharacterSet", None)
    names = np.atleast_1d(header.get("SpecificCharacterSet", PLAIN)).tolist()
    # an empty first value is what files from Japan and Korea have; highdicom refuses it
    if names != [UNICODE] and not (names[0] and are_ascii(task)):
        translate(header, names)
    return header


def check_numbers(header, name, count):
    """Raise ValueError if an attribute is there and is not so many numbers."""
    try:
        damaged = np.size(np.array(header.get(name) or [0] * count, "float64")) != count
    except (TypeError, ValueError):
        damaged = True
    if damaged:
        raise ValueError(f"its {name} is damaged")


def number_series(header, base):
    """The SeriesNumber of what is made of an image: that of its series, beyond `base`."""
    number = base + int(header.get("SeriesNumber") or 0)
    return number if number <= LARGEST_NUMBER else base


def are_ascii(task):
    """Whether all that a SEG or SR says of a task is."""
    terms = [str(task.coded_terms(name)) for name in task.classes]
    return "".join([task.name, *task.classes, *terms]).isascii()


def translate(header, names):
    """Have the texts of a header written in Unicode; `names` are its character sets."""
    unknown = [name for name in names if name not in python_encoding]
    if unknown:
        raise ValueError(f"its character set {unknown[0]} is unknown")
    header.decode()
    for element in header:
        if element.tag.group == 0x0010 or element.keyword in TEXTS_OF_STUDY:  # what is kept of it
            text = str(element.value)
            if "\ufffd" in text or (names == [PLAIN] and not text.isascii()):
                raise ValueError(f"its {element.keyword} is not in the character set it names")
    header.SpecificCharacterSet = UNICODE
