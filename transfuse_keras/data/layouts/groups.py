"""Who is a patient: the group of each image, as the data says or as its names suggest."""

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from transfuse_keras.data.layouts.listing import find_split_word, read_stems
from transfuse_keras.data.layouts.tables import assign_rows, match_rows
from transfuse_keras.errors import InputError, quantity

MANY_WORDS = 10  # so many different words are names of people, not kinds of images
# words before a number that count something else than patients: grade2_017, hospital1/
COLLECTIONS = {
    *("aug", "augmented", "copy", "crop", "flip", "rot", "rotated", "scale", "zoom"),
    *("batch", "birads", "cam", "camera", "category", "center", "centre", "class", "clinic", "cls"),
    *("dataset", "day", "device", "fold", "frame", "grade", "group", "hospital", "kind", "label"),
    *("level", "month", "part", "phase", "rads", "scanner", "ses", "session", "set", "site"),
    *("slice", "stage", "task", "test", "time", "timepoint", "train", "type", "v", "val"),
    *("version", "view", "visit", "week", "year"),
}
GROUPS_NAMED = 4  # groups that a note names


@dataclass(frozen=True)
class Clue:
    """What may tell the patient of an image.

    Attributes:
        stem: of its file.
        folder: the folders above it in the data set that speak of no split, with "/".
        listed: its group by groups.csv or sequences.csv, or None.
        dicom: its PatientID, or None.
    """

    stem: str
    folder: str = ""
    listed: str | None = None
    dicom: str | None = None

    def within(self, group):
        """A group that is told by the stem alone: the same in another folder is another one."""
        return f"{self.folder}/{group}" if self.folder else group


def group_samples(listing, task, option=None):
    """Give the samples of a Listing with clues their groups; says in its notes what was taken.

    In this order: `option`, groups.csv, the task's pattern, DICOM, folders, the beginning of the
    names. What only suggests patients (from folders on) is left if it makes too few to divide.

    Args:
        listing: Listing; changed.
        task: Task.
        option: "none", "prefix", "folder", a CSV file or a regular expression; None to choose.

    Raises: InputError if `option` fits no image.
    """
    if not listing.samples:
        return
    samples, clues = listing.samples, listing.clues
    clues = [clues.get(x.name) or Clue(*x.name.rpartition("/")[::-2]) for x in samples]
    names = [sample.name for sample in samples]
    if option is not None:
        groups, note = by_option(clues, samples, option)
    elif any(clue.listed for clue in clues):
        groups, note = by_table(clues, names)
    elif task.patient is not None:
        groups, note = by_pattern(clues, task.patient), "the task's pattern tells the patients"
    else:
        groups, note = guess(clues, count_needed(samples), samples)
    listing.patients = groups is not None
    groups = names if groups is None else groups
    listing.samples = [replace(x, group=group) for x, group in zip(samples, groups, strict=True)]
    patients = quantity(len(set(groups)), "patient")
    count = patients if listing.patients else "each counts as its own patient"
    listing.notes.append(f"{quantity(len(samples), 'image')}: {note}; {count}.")


def count_needed(samples):
    """How many groups are needed among the samples that no split of the data set has yet."""
    named = {sample.split for sample in samples} - {None}
    if named <= {"train"}:
        return 3
    return 1 if "val" in named else 2


def guess(clues, needed, samples):
    """(groups or None, why), by what the files and their names suggest."""
    reasons = []
    for find in (by_dicom, by_folder, by_prefix):
        groups, note = find(clues)
        if groups is not None:
            pairs = zip(groups, samples, strict=True)
            divided = {group for group, sample in pairs if sample.split in (None, "train")}
            if find is by_dicom or len(divided) >= needed:
                return groups, note
            note += f", but {quantity(len(divided), 'patient')} cannot be divided"
        reasons += [note] if note else []
    return None, "; ".join(reasons) or "nothing tells which are of one patient"


def by_option(clues, samples, option):
    """(groups or None, note) as --group says."""
    if option == "none":
        return None, "--group none"
    if option == "folder":
        if not any(clue.folder for clue in clues):
            raise InputError("--group folder: all images lie in one folder.")
        return [clue.folder for clue in clues], "--group folder: each folder is a patient"
    if option == "prefix":
        heads = repeated_heads(clues)
        if heads is None:
            raise InputError("--group prefix: no two names begin with the same words or numbers.")
        return heads, f"--group prefix: {name_groups(heads)}"
    if Path(option).suffix.lower() == ".csv" or Path(option).is_file():
        if not Path(option).is_file():
            raise InputError(f"{option}: no such file; it should have the columns stem,group.")
        table = read_stems(Path(option), ("stem", "group"))
        images = {sample.name: sample.files[0] for sample in samples}
        rows = assign_rows(table, match_rows(table, images, Path(option).parent))
        if not rows:
            raise InputError(f"{option}: names none of the images, such as {samples[0].name}.")
        names = [sample.name for sample in samples]
        pairs = zip(clues, names, strict=True)
        found = [replace(x, listed=rows[name][0] if name in rows else None) for x, name in pairs]
        return by_table(found, names, option)
    try:
        groups = [re.search(option, clue.stem) for clue in clues]
    except re.error as error:
        raise InputError(
            f"--group {option}: is neither none, prefix, folder nor a file, nor a regular "
            f"expression ({error})."
        ) from error
    if not any(groups):
        raise InputError(f"--group {option}: fits no name, such as {clues[0].stem}.")
    return by_pattern(clues, option, re.search), f"--group {option}"


def by_table(clues, names, table="groups.csv or sequences.csv"):
    groups = [clue.listed or name for clue, name in zip(clues, names, strict=True)]
    rest = sum(clue.listed is None for clue in clues)
    unlisted = f"; {rest} that it does not list count for themselves" if rest else ""
    return groups, f"{table} tells the patients{unlisted}"


def by_pattern(clues, pattern, find=re.match):
    """Groups by a regular expression: what it matches, or its first group; else the stem."""

    def group(clue):
        found = find(pattern, clue.stem)
        text = found and (found.group(1) if found.re.groups else found.group())
        return clue.within(text or clue.stem)

    return [group(clue) for clue in clues]


def by_dicom(clues):
    patients = {clue.dicom for clue in clues} - {None}
    if not patients:
        return None, ""
    if len(patients) == 1 < len(clues):
        return None, f"all have the PatientID {patients.pop()}"
    return [clue.dicom or clue.within(clue.stem) for clue in clues], "PatientID of the DICOM files"


def by_folder(clues):
    """Folders that are numbered or named like people are patients."""
    parts = [clue.folder.split("/") for clue in clues]
    for level in range(1, max(map(len, parts)) + 1):
        heads = ["/".join(part[:level]) for part in parts]
        if min(map(len, parts)) >= level and tell_people({x.rpartition("/")[2] for x in heads}):
            return heads, f"the folders {name_groups(heads)} are taken as patients"
    return None, ""


def by_prefix(clues):
    """The beginning of the names, in each folder for itself, that is numbered or like people's
    names and stands before several images."""
    folders = defaultdict(list)
    for index, clue in enumerate(clues):
        folders[clue.folder].append(index)
    groups, kinds = [clue.within(clue.stem) for clue in clues], set()
    found = False
    for indices in folders.values():
        heads, words = find_heads([clues[i].stem for i in indices])
        kinds |= words
        for i, head in zip(indices, heads or (), strict=False):
            groups[i], found = clues[i].within(head), True
    if found:
        return groups, f"the beginnings {name_groups(groups)} of the names are taken as patients"
    if kinds:
        shown = name_groups(kinds)
        return None, f"the beginnings {shown} are taken as kinds of images, not as patients"
    return None, ""


def find_heads(stems):
    """(beginning of each stem that tells the patient, or None; the words that were passed over).

    Beginnings grow word by word until they tell patients apart or are all different.
    """
    rows, passed = split_words(stems), set()
    for length in range(1, max(map(len, rows))):
        heads = ["".join(row[:length]).rstrip("_-. (") for row in rows]
        words = {row[length - 1].rstrip("_-. ()") for row in rows if len(row) >= length}
        if len(set(heads)) == len(stems):
            break
        if tell_people(words) and not count_collections(before_numbers(rows, length - 1)):
            return heads, passed
        if len(words) > 1:
            passed |= words
    return None, passed


def before_numbers(rows, place):
    """The words before numbers in a place of names: slice of slice_001_p1. A split is passed over,
    as in train_1001_1."""
    numbered = [x for x in rows if len(x) > place > 0 and x[place].rstrip("_-. ()").isdigit()]
    return {x[place - 1] for x in numbered if find_split_word(x[place - 1]) is None}


def repeated_heads(clues):
    """The shortest beginnings of the names that differ but are not all different, or None."""
    rows = split_words([clue.stem for clue in clues])
    for length in range(1, max(map(len, rows)) + 1):
        heads = ["".join(row[:length]).rstrip("_-. (") for row in rows]
        if 1 < len(set(heads)) < len(heads):
            return [clue.within(head) for clue, head in zip(clues, heads, strict=True)]
    return None


def split_words(stems):
    """The words and numbers of each stem, with the separators behind them. Without separators,
    stems of one form (P01S07) are cut behind each number."""
    if not any(re.search(r"[_\-. (]", stem) for stem in stems):
        forms = {re.sub(r"\d+", "#", stem) for stem in stems}
        if len(forms) == 1:
            return [re.findall(r"\D*\d+|\D+", stem) or [stem] for stem in stems]
    return [re.findall(r"[^_\-. ()]*[_\-. ()]+|[^_\-. ()]+", stem) or [stem] for stem in stems]


def tell_people(words):
    """Whether words, which stand in the same place of several names, are those of patients."""
    if len(words) < 2 or all(re.fullmatch(r"(19|20)\d\d", word) for word in words):
        return False
    if count_collections(words):
        return False
    numbered = sum(any(x.isdigit() for x in word) for word in words)
    return numbered >= 0.8 * len(words) or len(words) >= MANY_WORDS


def count_collections(words):
    """Whether most of some words count something else than patients."""
    letters = [set(re.findall("[a-z]+", word.lower())) for word in words]
    return sum(bool(found & COLLECTIONS) for found in letters) > len(words) / 2


def name_groups(groups):
    """The first few of the groups, for a note."""
    distinct = sorted(set(groups))
    return ", ".join(distinct[:GROUPS_NAMED]) + (", ..." if len(distinct) > GROUPS_NAMED else "")
