"""Parsers of the command line: their help has one form, and an error is one sentence."""

import argparse


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one sentence, without the usage."""

    def __init__(self, **arguments):
        super().__init__(
            argument_default=argparse.SUPPRESS,  # so that what was not given is not there
            allow_abbrev=False,  # half a name is a mistake, not an option
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **arguments,
        )

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def add_command(top, name, what, page, *examples):
    """The parser of a new command, without options yet."""
    lines = "\n".join(f"  transfuse {name} {example}" for example in examples)
    command = top.commands.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog=f"examples:\n{lines}\n\nDocumentation: {page}",
    )
    return command


def add_messages(parser):
    add = parser.add_argument_group("messages").add_argument
    add("-q", "--quiet", action="store_true", help="print warnings and errors only")
    add("-v", "--verbose", action="store_true", help="print details too")
    add("--debug", action="store_true", help="print everything, and tracebacks of errors")
