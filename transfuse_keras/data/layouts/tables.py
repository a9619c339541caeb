"""What small files in a data set say of its images: groups.csv, spacing.csv, lists of splits.

They lie beside the images, or in a folder above them within the data set; the nearest one counts.
"""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import PureWindowsPath

from transfuse_keras.data.class_names import is_background, plain
from transfuse_keras.data.layouts.listing import (
    find_split_word,
    read_spacings,
    read_stems,
    without_suffix,
)
from transfuse_keras.errors import InputError, blaming

GROUP_TABLES = (("groups.csv", "group"), ("sequences.csv", "sequence"))
VOC_SPLITS = "ImageSets/Segmentation"
NAMES_FILE = "classes.txt"
NUMBERED = re.compile(r"(\d+)[\s:;,.]+(\D.*)")  # a line of it: 2 spleen
HEADINGS = {"name", "names", "class", "classes", "class_name", "label", "labels"}


@dataclass
class Tables:
    """What the tables of some folders say.

    Attributes:
        groups: name of a sample -> its patient.
        spacings: name -> (row, column) in mm.
        splits: name -> split.
        unlisted: name of a sample that lists of splits leave out -> the folder of the lists.
        untrained: folders whose lists name no training image: what they leave out is for training.
    """

    groups: dict = field(default_factory=dict)
    spacings: dict = field(default_factory=dict)
    splits: dict = field(default_factory=dict)
    unlisted: dict = field(default_factory=dict)
    untrained: set = field(default_factory=set)


def divide_by_folder(images, directory):
    """Folders within `directory` in which tables may lie -> the images in it, at any depth.

    Args:
        images: name of a sample -> Path of its image.
        directory: Path; all images lie in it, though links and "." may hide that.

    Returns: {folder: the same of its images}, the outer ones first.
    """
    inside, above = defaultdict(dict, {directory: images}), {}
    for name, path in images.items():
        own = path.parent
        if own not in above:
            above[own] = [x for x in (own, *own.parents) if directory in x.parents]
        for folder in above[own]:
            inside[folder][name] = path
    return dict(sorted(inside.items(), key=lambda item: (len(item[0].parts), item[0])))


def read_tables(directory, images, listing, told=None, lists=True):
    """The Tables that lie beside images or above them; the nearest one has the last word.

    Args:
        directory: Path; all images lie in it.
        images: name of a sample -> Path of its image.
        listing: Listing, which gets what is wrong with them.
        told: name of a sample -> the split that its folders speak of, or None.
        lists: whether lists of splits are read; "known": what they name beyond the images is right.

    Raises: InputError if a file cannot be read.
    """
    tables = Tables()
    for folder, inside in divide_by_folder(images, directory).items():
        rows = {key: cells[0] for key, cells in read_groups(folder).items()}
        small = (
            ("groups.csv or sequences.csv", rows, tables.groups),
            ("spacing.csv", read_spacings(folder, listing.errors), tables.spacings),
        )
        for file, rows, table in small:
            matches = match_rows(rows, inside, folder)
            table.update(assign_rows(rows, matches))
            if unknown := [key for key, names in matches.items() if not names]:
                listing.warnings.append(
                    f"{folder}: {file} has rows without an image: {len(unknown)}, such as "
                    f"{unknown[0]}."
                )
        if lists and (splits := read_splits(folder, inside, listing, told or {}, lists)):
            tables.splits.update(splits)
            tables.unlisted.update(dict.fromkeys(inside.keys() - splits.keys(), folder))
            for name in splits:
                tables.unlisted.pop(name, None)
            if "train" not in splits.values():
                tables.untrained.add(folder)
    return tables


def assign_rows(rows, matches):
    """Name of a sample -> its row of a table; a path says more than a stem.

    Args:
        rows: key -> what the row says.
        matches: as of `match_rows`.
    """
    keys = sorted(matches, key=lambda key: "/" in key)
    return {name: rows[key] for key in keys for name in matches[key]}


def match_rows(keys, images, folder):
    """Key -> names of the samples that it means.

    A key is a stem, or a path whose last folders tell images of one stem apart.

    Args:
        keys: of a table, without the suffix of the image.
        images: name of a sample -> Path of its image in `folder`.
    """
    by_stem = defaultdict(list)
    for name, path in images.items():
        inner = path.relative_to(folder) if path.is_relative_to(folder) else path
        ends = f"/{name}", f"/{without_suffix(inner.as_posix())}"
        by_stem[name.rpartition("/")[2]].append((name, ends))
    matches = {}
    for key in keys:
        found = by_stem.get(key.rpartition("/")[2], ())
        if "/" in key and len(found) > 1:
            own = f"/{key}"
            found = [x for x in found if any(own.endswith(y) or y.endswith(own) for y in x[1])]
        matches[key] = [name for name, _ in found]
    return matches


def read_groups(folder):
    """Stem -> list of the group, by groups.csv or sequences.csv; empty without such a file."""
    for name, column in GROUP_TABLES:
        if (folder / name).is_file():
            return read_stems(folder / name, ("stem", column))
    return {}


def read_splits(folder, images, listing, told, lists):
    """Name of a sample -> split by the lists of a folder, see `read_lists`; other arguments as of
    `read_tables`. Of images of one name those are meant that lie in folders of the split."""
    splits = {}
    for path, split, lines in read_lists(folder, listing):
        matches = match_rows(lines, images, folder)
        if lists == "known":
            matches = {key: names for key, names in matches.items() if names}
        elif lines and not any(matches.values()):
            listing.warnings.append(
                f"{path}: names none of the images, so it is not taken as a list of the {split} "
                "split."
            )
            continue
        for key, names in matches.items():
            line = lines[key]
            if not names:
                listing.errors.append(f"{path}: names {line}, which has no image; take it out.")
            fitting = [name for name in names if told.get(name) in (None, split)]
            for name in fitting or names:
                if splits.setdefault(name, split) != split:
                    listing.errors.append(
                        f"{path}: {line} is already in the {splits[name]} split; take one out."
                    )
    return splits


def read_lists(folder, listing):
    """Yields (Path, split, {key of an image: as it stands there}) of text files such as
    official_split_train.txt, an image a line, and of a split.csv with the heading stem,split.

    Raises: InputError if a file cannot be read.
    """
    for path in sorted([*folder.glob("*.txt"), *(folder / VOC_SPLITS).glob("*.txt")]):
        split = find_split_word(path.stem)
        if split is None:
            continue
        with blaming(path, "not a readable text file"):
            lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        # which takes both separators
        keys = {without_suffix(PureWindowsPath(x).as_posix()): x for x in lines if x}
        yield path, split, keys
    path, parts = folder / "split.csv", defaultdict(dict)
    if not path.is_file():
        return
    rows = read_stems(path, ("stem", "split"))
    with blaming(path, "not a readable CSV file"):
        stem, *others = path.read_text(encoding="utf-8-sig").partition("\n")[0].split(",")
    if [cell.strip().lower() for cell in others[:1]] != ["split"]:
        listing.warnings.append(f"{path}: is not read, as its heading is not stem,split.")
        return
    rows.pop(without_suffix(stem.strip()), None)
    for key, (word, *_) in rows.items():
        if word and (split := find_split_word(word)) is None:
            raise InputError(f"{path}: the split of {key} is {word}; write train, val or test.")
        if word:
            parts[split][key] = key
    for split, keys in parts.items():
        yield path, split, keys


def refuse_other_order(folder, classes):
    """Raise InputError if the lines of a classes.txt give a class of the task another label."""
    path = folder / NAMES_FILE
    named = [plain(name) for name in read_class_names(path)] if path.is_file() else []
    for label, name in enumerate(classes, 1):
        if plain(name) in named and named.index(plain(name)) + 1 != label:
            raise InputError(
                f"{path}: says that label {named.index(plain(name)) + 1} is {name}, but for this "
                f"model or task it is label {label}; number the classes of the masks alike, or "
                "take the file out if it is wrong."
            )


def read_class_names(path):
    """The names in a classes.txt, in the order of the labels, without the background.

    A line is a name, or its label and the name (`2 spleen`, `2: spleen`). Lines that begin with #
    or __, as LabelMe's __ignore__, and a heading are passed over.

    Raises: InputError if the file cannot be read, or labels are left out or there twice.
    """
    with blaming(path, "not a readable text file"):
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    lines = [line for line in lines if line and not line.startswith(("#", "__"))]
    lines = lines[1:] if len(lines) > 1 and plain(lines[0]) in HEADINGS else lines
    numbered = [NUMBERED.fullmatch(line) for line in lines]
    if not lines or not all(numbered):
        return lines[1:] if lines and is_background(lines[0]) else lines
    labels = [int(match[1]) for match in numbered]
    names = dict(zip(labels, (match[2] for match in numbered), strict=True))
    if not is_background(names.setdefault(0, "background")):
        raise InputError(f"{path}: label 0 is the background; number the classes from 1 on.")
    if len(set(labels)) < len(labels) or sorted(names) != list(range(len(names))):
        raise InputError(f"{path}: number its classes 1, 2, 3, ..., each once; 0 is background.")
    return [names[label] for label in range(1, len(names))]
