"""Files: written so that none is ever seen half-written, and tables and JSON read back."""

import csv
import hashlib
import io
import json
import os
import re
import shutil
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from transfuse_keras.errors import blaming

TEMPORARY_PREFIX = ".part."  # begins the name of what is not complete
OLD_PREFIX = ".old."  # begins the name of what is being replaced
SETTLED = 5  # seconds after which nobody is in the middle of replacing a folder
WINDOWS = sys.platform == "win32"
PAUSES = (0.01, 0.1, 1)  # seconds


@contextmanager
def replacing(path):
    """Write beside `path`, then rename: yields the temporary path, with the same suffixes.

    What is written there may be a file or a folder. If the block fails, `path` is as before, and
    an OSError that names no file, as of a full disk, names `path`. A process may be killed at any
    moment: the old or the new is at `path` then, or is put back there by `recover`, which is done
    first here.
    """
    path = Path(path)
    temporary = path.with_name(TEMPORARY_PREFIX + path.name)
    old = path.with_name(OLD_PREFIX + path.name)
    recover(old)
    remove(temporary)
    try:
        yield temporary
        if path.is_dir():  # no system call that every system has replaces a full folder
            insist(os.rename, path, old)
        try:
            insist(os.replace, temporary, path)
        finally:
            recover(old)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        remove(temporary)


@contextmanager
def replacing_with_weights(path):
    """`replacing` of a graph whose weights are a file of their own, `.bin`: in between there is no
    graph, never one beside the weights of another."""
    with replacing(path) as temporary, replacing(Path(path).with_suffix(".bin")):
        yield temporary
        remove(Path(path))


def recover(old):
    """Put back what was moved aside to be replaced, or remove it if its replacement is there."""
    path = old.with_name(old.name.removeprefix(OLD_PREFIX))
    if path.exists():
        remove(old)
    elif old.exists():
        insist(os.rename, old, path)


def settle(path):
    """`path`, where a folder is put back if a process was killed between moving it aside and
    putting its replacement there, some seconds ago: a living one needs no longer."""
    old = path.with_name(OLD_PREFIX + path.name)
    if not path.exists() and old.exists() and time.time() - old.stat().st_ctime > SETTLED:
        with suppress(OSError):  # a folder that only its owner may change
            recover(old)
    return path


def insist(change, *paths):
    """Rename or remove, on Windows again after a pause: there it is refused while another process,
    such as a virus scanner or one that reads a lock, has the file open for a moment."""
    for pause in PAUSES if WINDOWS else ():
        try:
            return change(*paths)
        except PermissionError:
            time.sleep(pause)
    return change(*paths)


def portable(name):
    """A name as part of the name of a file on every system: Windows allows no < > : " | ? *."""
    return re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", name)


def remove(path):
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def is_leftover(path):
    """Whether a file or folder is what a killed process had not finished writing."""
    return path.name.startswith((TEMPORARY_PREFIX, OLD_PREFIX))


def remove_leftovers(folder):
    """Remove what a killed process had not finished writing; put back what it had moved aside."""
    for path in [path for path in folder.rglob(".*") if is_leftover(path)]:
        if path.name.startswith(OLD_PREFIX):
            recover(path)
        else:
            remove(path)


def first_free(path):
    """`path` if nothing is there, else path-2, path-3, ..."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def make_first_free(path):
    """Make the folder that `first_free` gives. Processes that do so at once get one each."""
    while True:
        try:
            (free := first_free(path)).mkdir(parents=True)
            return free
        except FileExistsError:  # another process was faster
            continue


def write_json(path, content):
    """Write plain data as JSON; nan becomes null."""

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and value != value else value

    with replacing(path) as temporary:
        text = json.dumps(plain(content), indent=2, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path, remedy=None):
    """The content of a JSON file; None if there is none. InputError with `remedy` if damaged."""
    try:
        with blaming(path, "damaged, not JSON", remedy):
            return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def compute_digest(path):
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_table(path, rows):
    """Write dicts with the same keys as CSV."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def read_table(path, remedy=None):
    """The rows of a CSV file as dicts of strings. InputError with `remedy` if damaged.

    A spreadsheet may have saved it anew, with a byte order mark and with semicolons.
    """
    with blaming(path, "damaged", remedy), path.open(newline="", encoding="utf-8-sig") as file:
        head = file.readline()
        file.seek(0)
        delimiter = ";" if ";" in head and "," not in head else ","
        rows = list(csv.DictReader(file, delimiter=delimiter))
        for number, row in enumerate(rows, 1):
            if None in row or None in row.values():
                raise ValueError(f"row {number} has not one value a column")
    return rows


def format_table(heads, rows, left=1, markdown=False):
    """Lines of a table of texts, as wide as it needs: for a terminal, a pipe or a file.

    Args:
        heads: of the columns.
        rows: lists with a text for each column.
        left: so many columns are flush left, the others flush right.
        markdown: whether it is a table of Markdown.
    """
    # imported here: a command that prints no table answers sooner without it
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(
        box=box.MARKDOWN if markdown else box.SIMPLE_HEAD, show_edge=markdown, pad_edge=markdown
    )
    for number, head in enumerate(heads):
        table.add_column(head, justify="left" if number < left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    text = io.StringIO()
    plain = {"markup": False, "emoji": False, "highlight": False, "color_system": None}
    Console(file=text, width=10_000, legacy_windows=False, **plain).print(table)
    # any encoding that a pipe may have can write a minus
    return [
        line.rstrip().replace("─", "-") for line in text.getvalue().splitlines() if line.strip()
    ]
