"""What the site shows differently from the files of the repository."""

import re

import griffe


def on_page_markdown(markdown, **_):
    """Called by mkdocs with the text of each page.

    Its links to files of the repository lead nowhere on the site: they become the names of these.
    """
    return re.sub(r"\[[^\]]+\]\(\.\./([^)]+)\)", r"`\1`", markdown)


class OneLineSections(griffe.Extension):
    """Reads `Returns: what` on one line, and `Example:`, as the sections that they are."""

    def on_instance(self, *, obj, **_):
        if obj.docstring:
            text = obj.docstring.value.replace("Example:\n", "Examples:\n")
            obj.docstring.value = re.sub(
                r"^(Returns|Raises|Yields): ((?:.+\n?)+)", indent_section, text, flags=re.MULTILINE
            )


def indent_section(match):
    """`Returns: an array` as a section; of an exception the name stands before a colon."""
    kind, text = match[1], " ".join(match[2].split())
    text = re.sub(r"^(\w+) ", r"\1: ", text) if kind == "Raises" else f": {text}"
    return f"{kind}:\n    {text}\n"
