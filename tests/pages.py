"""The pages that users read, and the commands in their shell blocks."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHELL = ("", "sh", "shell")


def shell_lines(page):
    """The commands of a page as lists of words, each once, without comments."""
    blocks = re.findall(r"```(\w*)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    text = "".join(block for kind, block in blocks if kind in SHELL).replace("\\\n", " ")
    lines = [shlex.split(line, comments=True) for line in text.splitlines()]
    return [words for i, words in enumerate(lines) if words and words not in lines[:i]]


def py_block(page):
    """The one block of a page in Python that needs names from elsewhere."""
    (block,) = re.findall(r"```py\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return block
