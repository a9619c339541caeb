"""The exceptions that a command tells in one sentence: wrong input, and work that failed."""

import csv
from contextlib import contextmanager

# what plain code raises on data of another form than it was written for
OTHER_FORM = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
OTHER_FORM += (csv.Error,)
# what to do about a damaged file that the package itself wrote
SCORE_AGAIN, EXPORT_AGAIN = "score the model again", "export the model again"


class InputError(ValueError):
    """What a user gave cannot be used; the message names it and the remedy in one sentence."""

    def __init__(self, message):
        super().__init__(" ".join(str(message).splitlines()))  # a name may hold a line break


class Failure(RuntimeError):
    """The input was read, but the work on it failed; the message says how in one sentence."""


def refuse_all(faults):
    """Raise one InputError with all sentences of a list, if it has any."""
    if faults:
        raise InputError(" ".join(faults))


def quantity(count, noun):
    """Such as "1 image" or "2 images"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def first_line(error):
    """The first line of what an exception says; the name of its kind if it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


@contextmanager
def blaming(path, what, remedy=None):
    """Raise InputError where the content of a file has another form than the block expects.

    Args:
        path: of the file.
        what: is wrong with it.
        remedy: what to do about it.
    """
    try:
        yield
    except InputError:
        raise
    except OTHER_FORM as error:
        reason = f"{path}: {what} ({type(error).__name__}: {error})"
        raise InputError(f"{reason}; {remedy}." if remedy else f"{reason}.") from error
