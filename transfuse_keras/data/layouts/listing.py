"""What all layouts share: the listing they give, image files by stem, and the small CSV files."""

import csv
import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace

import pydicom
from pydicom.uid import RTStructureSetStorage

from transfuse_keras.data.dicom import dicom_header
from transfuse_keras.data.kinds import DICOM, IMAGES, VOLUMES, is_dicom
from transfuse_keras.data.quiet import reading
from transfuse_keras.data.samples import Sample
from transfuse_keras.errors import InputError

# may lie beside images without being meant as one
TEXTS = {".txt", ".csv", ".json", ".xml", ".yaml", ".yml", ".md", ".html", ".db", ".ini", ".xlsx"}
COLUMN_FIRST = {("x", "y"), ("column", "row"), ("width", "height")}  # headings of spacing.csv
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trainset", "traindata"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "valset", "valdata"), "val"),
    **dict.fromkeys(("test", "testing", "testset", "testdata"), "test"),
}


@dataclass
class Listing:
    """What a layout found.

    Attributes:
        samples: list of Sample.
        errors: sentences that begin with a file, each of which would fail training.
        warnings: sentences on what training can live with.
        notes: sentences on what was chosen where files can be read in several ways.
        clues: sample name -> Clue, where names or folders may tell the patient; empty where the
            layout itself does.
        patients: whether the groups are patients (or videos), by anything that tells them.
    """

    samples: list[Sample] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    clues: dict = field(default_factory=dict)
    patients: bool = False

    def add(self, other):
        for name in ("samples", "errors", "warnings", "notes"):
            getattr(self, name).extend(getattr(other, name))


def is_image(path):
    """Whether a file is read as an image or a mask, by its suffix; DICOM may have none."""
    return path.suffix.lower() in IMAGES or (path.is_file() and is_dicom(path))


def image_files(folder, errors, warnings=None):
    """File stem -> path of the images in a folder, sorted; doubles are added to `errors`, what is
    passed over to `warnings`. Stems are in Unicode's composed form: macOS writes the other."""
    paths, unread = {}, []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.is_dir():
            continue
        if not is_image(path):
            unread += [] if path.suffix.lower() in TEXTS else [path]
            continue
        stem = without_suffix(path.name)
        if stem in paths:
            errors.append(f"{path}: {paths[stem].name} has the same stem; rename one.")
        else:
            paths[stem] = path
    if unread and warnings is not None:
        kinds = ", ".join(sorted(IMAGES))
        warnings.append(
            f"{folder}: files that are none of {kinds} are not read: {len(unread)}, such as "
            f"{unread[0].name}."
        )
    return paths


def refuse_structures(paths):
    """Raise InputError if one of the files holds outlines of radiotherapy (RT-STRUCT)."""
    for path in paths:
        if path.suffix.lower() not in {*DICOM, ""}:
            continue
        try:
            with reading():
                header = pydicom.dcmread(path, force=True, specific_tags=["SOPClassUID"])
        except Exception:  # the reader will say what is wrong with it
            continue
        if header.get("SOPClassUID") == RTStructureSetStorage:
            raise InputError(
                f"{path}: holds outlines of radiotherapy (RT-STRUCT), which are not read; convert "
                "them to masks, as 3D Slicer does."
            )


def find_split_word(name):
    """The split that a file or folder name speaks of ("TrainDataset", "official_split_val"), or
    None if it speaks of none or of several."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
    found = {SPLIT_WORDS[word.lower()] for word in words if word.lower() in SPLIT_WORDS}
    return found.pop() if len(found) == 1 else None


def read_stems(path, columns):
    """Rows of a CSV file as stem -> list of the other cells.

    A first line whose cell says "stem", "name", "image", "file" or "filename" is a heading; image
    suffixes of the stems are dropped.

    Raises: InputError if the file cannot be read or a row has fewer cells than `columns` says.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a readable CSV file ({error}).") from error
    if rows and rows[0][0].lower() in ("stem", "name", "image", "file", "filename"):
        del rows[0]
    table = {}
    for row in rows:
        if len(row) < len(columns):
            raise InputError(f"{path}: the row '{','.join(row)}' lacks {columns[len(row)]}.")
        table[without_suffix(row[0].replace("\\", "/"))] = row[1:]
    return table


def without_suffix(name):
    """A file name without the suffix of an image or a volume, in Unicode's composed form."""
    name = unicodedata.normalize("NFC", name)
    endings = [x for x in (*IMAGES, *VOLUMES) if name.lower().endswith(x)]
    return name[: len(name) - len(max(endings, key=len, default=""))]


def read_spacings(folder, errors):
    """Stem -> (row, column) mm by spacing.csv (stem,mm or stem,row,column), if there is one.

    A heading that names x before y, or the column before the row, turns them round.
    """
    path = folder / "spacing.csv"
    if not path.is_file():
        return {}
    spacings, rows = {}, read_stems(path, ("stem", "mm"))
    heading = path.read_text(encoding="utf-8-sig").partition("\n")[0].lower().split(",")
    turned = tuple(cell.strip() for cell in heading[1:3]) in COLUMN_FIRST
    for stem, cells in rows.items():
        try:
            numbers = tuple(float(cell) for cell in cells[:2] if cell)
            numbers = numbers if len(numbers) > 1 else numbers * 2
            spacings[stem] = check_spacing(numbers[::-1] if turned else numbers)
        except ValueError as error:
            errors.append(f"{path}: the spacing of {stem} {error}.")
    return spacings


def check_spacing(spacing):
    """Return a (row, column) spacing in mm; ValueError if no radiograph or scan can have it."""
    if len(spacing) != 2 or not all(0.001 <= mm <= 20 for mm in spacing):
        shown = " x ".join(f"{mm:g}" for mm in spacing)
        raise ValueError(f"is {shown} mm; a pixel has two sides of 0.001 to 20 mm")
    return spacing


def read_header(path, spacing, listing):
    """(patient, spacing) of an image, by its header if it is DICOM.

    Args:
        path: of the image.
        spacing: that of a table, which counts more than the header; None without one.
        listing: Listing, which gets the error.

    Returns: None if the header cannot be used.
    """
    if not is_dicom(path):
        return None, spacing
    try:
        patient, own = dicom_header(path)
        return patient, spacing or (own and check_spacing(own))
    except InputError as error:
        listing.errors.append(str(error))
    except ValueError as error:
        listing.errors.append(f"{path}: its spacing {error}.")
    return None


def describe_spacing(samples):
    """A sentence on the pixel spacing of samples."""
    known = Counter(
        tuple(round(mm, 4) for mm in sample.spacing) for sample in samples if sample.spacing
    )
    if known.total() < len(samples):
        return (
            f"The pixel spacing of {len(samples) - known.total()} of {len(samples)} samples is "
            "unknown: distances are in pixels."
        )
    (common, count), *_ = known.most_common(1)
    shown = " x ".join(f"{mm:g}" for mm in common)
    return f"Spacing: {shown} mm in {count} of {len(samples)} samples."


def join_copies(samples):
    """Make groups one that share an image file, byte for byte; changes the list. Samples of which
    the data says that they validate or test stay as they are."""
    by_size = defaultdict(list)
    for sample in samples:
        if sample.split in ("val", "test"):
            continue
        by_size[sample.files[0].stat().st_size].append(sample)
    first, leader = {}, {}

    def find(group):
        while group in leader:
            group = leader[group]
        return group

    for candidates in by_size.values():
        for sample in candidates if len(candidates) > 1 else ():
            digest = hashlib.blake2b(sample.files[0].read_bytes()).hexdigest()
            group, other = find(sample.group), find(first.setdefault(digest, sample.group))
            if group != other:
                leader[group] = other
    samples[:] = [
        sample if sample.split in ("val", "test") else replace(sample, group=find(sample.group))
        for sample in samples
    ]
