"""How the names of classes are compared, and which of them are no class."""

import re

BACKGROUND = {"background"}


def plain(name):
    """What a class name is compared by: not by case, nor by the signs between its words."""
    return re.sub(r"[\W_]+", "_", name.casefold()).strip("_")


def is_background(name):
    return plain(name) in BACKGROUND
