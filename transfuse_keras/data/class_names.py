"""How the names of classes are compared, and which of them are no class."""

import re
import unicodedata

BACKGROUND = {"background", "bg"}


def plain(name):
    """What a class name is compared by: not by case, nor by the signs between its words."""
    composed = unicodedata.normalize("NFC", name)  # macOS writes accents as letters of their own
    return re.sub(r"[\W_]+", "_", composed.casefold()).strip("_")


def distinct(names):
    """The names that differ by `plain`: of Liver and liver the first one."""
    return list({plain(name): name for name in reversed(list(names))}.values())[::-1]


def is_background(name):
    return plain(name) in BACKGROUND
