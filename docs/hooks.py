"""What the site shows differently from the files of the repository."""

import re
import shutil
import sys
from pathlib import Path

import griffe

from transfuse_keras.errors import InputError
from transfuse_keras.export.web import write_page

DEMO = Path(__file__).parent / "models" / "hip" / "model-int8.tflite"


def on_page_markdown(markdown, **_):
    """Called by mkdocs with the text of each page.

    Its links to files of the repository lead nowhere on the site: they become the names of these.
    """
    return re.sub(r"\[[^\]]+\]\(\.\./([^)]+)\)", r"`\1`", markdown)


def on_post_build(config):
    """Called by mkdocs when the site is written: the page of the demonstration is added to it.

    Its runtime comes from the npm registry; without a network the rest of the site is complete.
    """
    folder = Path(config["site_dir"], "demo", "page")
    try:
        write_page(folder)
    except InputError as error:
        print(f"{folder} is left out: {error}", file=sys.stderr)
        return
    shutil.copy(DEMO, folder / "model.tflite")


class OneLineSections(griffe.Extension):
    """Reads `Returns: what` on one line, and `Example:`, as the sections that they are."""

    def on_instance(self, *, obj, **_):
        if obj.docstring:
            text = obj.docstring.value.replace("Example:\n", "Examples:\n")
            obj.docstring.value = re.sub(
                r"^(Returns|Raises|Yields): ((?:.+\n?)+)", indent_section, text, flags=re.MULTILINE
            )


class PublicParameters(griffe.Extension):
    """Leaves out the parameters whose names begin with an underscore: users do not give them."""

    def on_function_instance(self, *, func, **_):
        for name in [x.name for x in func.parameters if x.name.startswith("_")]:
            del func.parameters[name]


def indent_section(match):
    """`Returns: an array` as a section; of an exception the name stands before a colon."""
    kind, text = match[1], " ".join(match[2].split())
    text = re.sub(r"^(\w+) ", r"\1: ", text) if kind == "Raises" else f": {text}"
    return f"{kind}:\n    {text}\n"
