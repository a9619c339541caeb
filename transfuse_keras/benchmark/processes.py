"""Models that each have a process of their own and run in turns."""

import json
import logging
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from transfuse_keras.errors import InputError

log = logging.getLogger(__name__)


RUNTIMES_FILE = Path(__file__).parents[1] / "inference" / "runtimes.py"
PAUSE = 0.1  # seconds before a turn: the threads of ONNX Runtime spin on for nearly half of them


@contextmanager
def process(name, runtime, settings):
    """A model in a process of runtimes.py.

    Args:
        name, runtime: of the model and of what runs it, for messages.
        settings: dict for runtimes.py.

    Yields: what it says when it is loaded, and a function that lets it run once and gives what it
    says then, dicts as in runtimes.py.

    Raises: InputError if it cannot load or run, or ends on its own.
    """
    log.info(f"Starting {runtime} for {name}")
    command = [sys.executable, "-P", str(RUNTIMES_FILE), json.dumps(settings)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, bufsize=0, **pipes) as child:

        def read():
            line = child.stdout.readline()
            if not line:
                raise InputError(
                    f"{name}: its process in {runtime} was ended with code {child.wait()}; "
                    "if memory was short, measure one file at a time."
                )
            answer = json.loads(line)
            if "error" in answer:
                raise InputError(
                    f"{name}: damaged or not for {runtime} ({answer['error']}); export it again."
                )
            return answer

        def run():
            with suppress(BrokenPipeError):  # `read` tells that it has ended
                child.stdin.write(b"\n")
            return read()

        yield read(), run


def take_turns(runs, rounds):
    """What each of some functions gives, a list of `rounds` results, one after the other."""
    results = [[] for _ in runs]
    for number in range(rounds):
        for run, found in zip(runs, results, strict=True):
            time.sleep(PAUSE)
            found.append(run())
        log.debug(f"Round {number + 1} of {rounds}")
    return results
