"""What subgroups are made of: further columns of groups.csv, such as device, sex or hospital."""

import csv
from dataclasses import replace

from transfuse_keras.data.layouts.listing import without_suffix
from transfuse_keras.errors import InputError

GROUPS_FILE = "groups.csv"
HEADINGS = ("stem", "name", "image", "file", "filename")  # of the first column


def add_attributes(samples, directory, file=None):
    """Give samples the attributes that a groups.csv tells; changes the list.

    It is `file`, or lies beside the images or up to two folders above them, within `directory`.
    Its heading, "stem,group,device,sex", names the attributes behind the second column; without a
    heading there are none. An empty cell is left out.

    Raises: InputError if a file cannot be read.
    """
    tables = {}
    for number, sample in enumerate(samples):
        folders = sample.files[0].parents[:3] if sample.files else ()
        inside = [x / GROUPS_FILE for x in folders if x == directory or directory in x.parents]
        for path in inside if file is None else [file]:
            if path not in tables:
                tables[path] = read_attributes(path) if path.is_file() else {}
            table = tables[path]
            if found := table.get(sample.name) or table.get(sample.name.rpartition("/")[2]):
                samples[number] = replace(sample, attributes=found)
                break


def read_attributes(path):
    """Stem -> {name of the column: text} of a groups.csv."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            head, *rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row] or [
                []
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a readable CSV file ({error}).") from error
    if not head or head[0].lower() not in HEADINGS:
        return {}
    return {
        without_suffix(row[0].replace("\\", "/")): {
            name: text for name, text in zip(head[2:], row[2:], strict=False) if name and text
        }
        for row in rows
    }
