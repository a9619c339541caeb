"""What subgroups are made of: further columns of groups.csv, such as device, sex or hospital."""

import csv
from dataclasses import replace

from transfuse_keras.data.layouts.listing import without_suffix
from transfuse_keras.data.layouts.tables import assign_rows, divide_by_folder, match_rows
from transfuse_keras.errors import InputError

GROUPS_FILE = "groups.csv"
HEADINGS = ("stem", "name", "image", "file", "filename")  # of the first column


def add_attributes(samples, directory, file=None):
    """Give samples the attributes that a groups.csv tells; changes the list.

    It is `file`, or lies where `read_tables` looks for the groups, and its rows are matched alike.
    Its heading, "stem,group,device,sex", names the attributes behind the second column; without a
    heading there are none. An empty cell is left out.

    Raises: InputError if a file cannot be read.
    """
    images = {sample.name: sample.files[0] for sample in samples}
    folders = divide_by_folder(images, directory)
    tables = {x / GROUPS_FILE: y for x, y in folders.items()} if file is None else {file: images}
    found = {}
    for path, inside in tables.items():
        if path.is_file():
            rows = read_attributes(path)
            found |= assign_rows(rows, match_rows(rows, inside, path.parent))
    samples[:] = [replace(x, attributes=found.get(x.name, {})) for x in samples]


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
