"""The `transfuse` command: parses arguments, prints messages, turns errors into exit codes."""

import logging
import os
import select
import sys
import traceback
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from difflib import get_close_matches

from transfuse_keras import __version__, commands
from transfuse_keras.arguments import data, models, prediction, scoring, training
from transfuse_keras.arguments.parser import Parser, add_messages
from transfuse_keras.errors import Failure, InputError
from transfuse_keras.versions import describe_missing

# what these print is no result
WRITE_FILES = ("train", "evaluate", "predict", "report", "export", "convert")
EXIT_CODES = """\
exit codes:
  0    done
  1    a part failed: a training, an export or some of the inputs; or `check` found errors
  2    the input cannot be used; one sentence says why and what to do
  130  interrupted

TRANSFUSE_DEBUG=1 is --debug for every command. Documentation: README.md and docs/"""


def main(argv=None):
    """Run the command line.

    Returns: the exit code, see EXIT_CODES.
    """
    given = parse(sys.argv[1:] if argv is None else argv)
    name = given.pop("command")
    debug = given.pop("debug", os.environ.get("TRANSFUSE_DEBUG", "0") not in ("", "0"))
    verbose, quiet = given.pop("verbose", debug), given.pop("quiet", False)
    if not debug:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    # a pipe on Windows has few letters: the others are written as \\xNN, as stderr does
    with suppress(AttributeError):  # that of a notebook writes all
        sys.stdout.reconfigure(errors="backslashreplace")
    with printing(level), without_progress() if quiet and name in WRITE_FILES else nullcontext():
        try:
            code = getattr(commands, f"run_{name}")(**given) or 0
            sys.stdout.flush()  # here a reader that left can still be told from an error
            return code
        except (InputError, OSError, Failure, KeyboardInterrupt, ImportError) as error:
            if isinstance(error, BrokenPipeError) and not is_read():
                return 1  # `| head` has seen enough, which is no error to tell
            code, sentence = describe_error(error, name)
            if sentence is None:  # a module of our own, say
                raise
            if debug:
                traceback.print_exc()
            else:
                print(f"transfuse: {' '.join(sentence.splitlines())}", file=sys.stderr)
            return code


def is_read():
    """Whether the pipe of stdout still has a reader; else what is yet to be printed is dropped."""
    if not hasattr(select, "poll"):  # Windows
        return True
    stdout, pipe = 1, select.poll()  # the descriptor: a notebook's sys.stdout has none
    pipe.register(stdout, 0)  # a reader that left is told without asking
    if not pipe.poll(0):
        return True
    os.dup2(os.open(os.devnull, os.O_WRONLY), stdout)
    return False


def describe_error(error, command):
    """(exit code, sentence) of what a command raised; the sentence is None if there is none."""
    if isinstance(error, KeyboardInterrupt):
        again = "; repeat the command with --resume to go on" * (command in ("train", "ablate"))
        return 130, f"interrupted{again}."
    if isinstance(error, OSError):
        file = error.filename2 or error.filename
        named = file and error.strerror
        return 2, f"{file}: {error.strerror}." if named else " ".join(str(error).split())
    if isinstance(error, ImportError):
        return 2, describe_missing(error)
    return 1 if isinstance(error, Failure) else 2, str(error)


class Printer(logging.Handler):
    """Prints messages as they are: warnings and errors on stderr, the others on stdout."""

    def emit(self, record):
        to = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
        print(self.format(record), file=to, flush=True)


PRINTER = Printer()


def print_others():
    """A handler that prints the warnings of other libraries, as Python does where there is none."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.addFilter(lambda record: not record.name.startswith("transfuse_keras"))
    return handler


@contextmanager
def printing(level=logging.INFO):
    """Within this context what the package logs at `level` and above is printed."""
    logger = logging.getLogger("transfuse_keras")
    before, added = (logger.level, PRINTER.level), PRINTER not in logger.handlers
    logger.addHandler(PRINTER)
    # where the root has none, an export by TensorFlow adds one, which repeats our lines
    others = None if logging.root.handlers else print_others()
    if others:
        logging.root.addHandler(others)
    logger.setLevel(min(level, logging.INFO))  # for log.txt, which --quiet does not shorten
    PRINTER.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before[0])
        PRINTER.setLevel(before[1])
        if added:
            logger.removeHandler(PRINTER)
        if others:
            logging.root.removeHandler(others)


@contextmanager
def without_progress():
    """Within this context stdout is empty: Keras prints a line for each epoch, rich a bar."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield


def parse(argv):
    """{name: value} of the command and of the options that were given."""
    top = parser()
    names = [argument for argument in argv if not argument.startswith("-")][:1]
    known = top.commands.choices
    if names and names[0] not in known:
        top.error(f"unknown command '{names[0]}'{suggest(names[0], known)}")
    asked = known[names[0]] if names else top
    options = [x for action in asked._actions for x in action.option_strings]
    for argument in argv:
        name = argument.partition("=")[0]
        if name.startswith("--") and name not in ("--", *options):
            asked.error(f"unknown option {name}{suggest(name, options)}")
    return vars(top.parse_args(argv))


def suggest(name, known):
    """What was probably meant, in brackets; empty if nothing is near."""
    words = {word.lstrip("-"): word for word in known}
    near = get_close_matches(name.lstrip("-"), words, 1)
    return f" (did you mean {words[near[0]]}?)" if near else ""


def parser():
    """The argument parser of all commands."""
    top = Parser(
        prog="transfuse", description="TransFuse: medical image segmentation.", epilog=EXIT_CODES
    )
    top.add_argument("--version", action="version", version=f"transfuse {__version__}")
    add_messages(top)
    top.commands = top.add_subparsers(
        required=True, metavar="COMMAND", dest="command", title="commands"
    )
    for add in (
        *(data.add_plan, training.add_train, scoring.add_evaluate, prediction.add_predict),
        *(data.add_check, scoring.add_compare, scoring.add_report, data.add_convert),
        *(models.add_export, models.add_push, models.add_inspect, scoring.add_benchmark),
        *(training.add_ablate, prediction.add_node, prediction.add_serve),
    ):
        add(top)
    for command in top.commands.choices.values():
        add_messages(command)
    return top
