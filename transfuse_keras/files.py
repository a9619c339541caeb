"""Files: written so that none is ever seen half-written, and tables and JSON read back."""

import csv
import io
import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

from transfuse_keras.errors import blaming

TEMPORARY_PREFIX = ".part."  # begins the name of what is not complete


@contextmanager
def replacing(path):
    """Write beside `path`, then rename: yields the temporary path, with the same suffixes.

    What is written there may be a file or a folder. If the block fails, `path` is as before, and
    an OSError that names no file, as of a full disk, names `path`.
    """
    path = Path(path)
    temporary = path.with_name(TEMPORARY_PREFIX + path.name)
    try:
        yield temporary
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def first_free(path):
    """`path` if nothing is there, else path-2, path-3, ..."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def write_json(path, content):
    """Write plain data as JSON; nan becomes null."""

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and value != value else value

    with replacing(path) as temporary:
        temporary.write_text(json.dumps(plain(content), indent=2, allow_nan=False) + "\n")


def read_json(path, remedy=None):
    """The content of a JSON file; None if there is none. InputError with `remedy` if damaged."""
    try:
        with blaming(path, "damaged, not JSON", remedy):
            return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def write_table(path, rows):
    """Write dicts with the same keys as CSV."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def read_table(path, remedy=None):
    """The rows of a CSV file as dicts of strings. InputError with `remedy` if damaged."""
    with blaming(path, "damaged", remedy), path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
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
