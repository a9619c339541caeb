"""sessions.json of a run: when, by which command, on what and for how long it was trained."""

import os
import shlex
import sys
from datetime import datetime
from pathlib import Path

from transfuse_keras import __version__
from transfuse_keras.errors import blaming
from transfuse_keras.files import read_json, write_json
from transfuse_keras.runs.processor import describe_processor
from transfuse_keras.runs.settings import RUN_PACKAGES
from transfuse_keras.versions import backend, versions

SESSIONS = "sessions.json"


def describe_session():
    """What is known of a training that begins now, in this process, as plain data.

    Returns: {"begun": local time with its zone, "command", "devices": the accelerators or else the
    processor, "versions": of this package, Python, Keras' backend and others, "seconds": 0.0,
        "processor_seconds": 0.0, of all cores together}.
    """
    # imports Keras, which a reader can do without
    from transfuse_keras.devices import name_accelerators

    processor = f"{describe_processor()['cpu']}, {os.cpu_count()} cores"
    program = "transfuse" if is_command(sys.argv[0]) else sys.argv[0]
    return {
        "begun": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": shlex.join([program, *sys.argv[1:]]),
        "devices": name_accelerators() or [processor],
        "versions": {
            "transfuse-keras": __version__,
            "backend": backend(),
            **{name: number for name, number in versions(*RUN_PACKAGES).items() if number},
        },
        "seconds": 0.0,
        "processor_seconds": 0.0,
    }


def is_command(program):
    """Whether a process was started as `transfuse` or `python -m transfuse_keras`."""
    path = Path(program)
    return path.stem == "transfuse" or path.parts[-2:] == ("transfuse_keras", "__main__.py")


def write_session(run, session):
    """Write a session as the last of sessions.json; one that began at the same time is replaced."""
    before = [x for x in read_sessions(run) if x["begun"] != session["begun"]]
    write_json(run / SESSIONS, [*before, session])


def read_sessions(run):
    """The sessions of a run, the first one first; [] where an earlier release trained it.

    Raises: InputError if the file is damaged.
    """
    path = run / SESSIONS
    remedy = "remove it, and the report says nothing of it"
    sessions = read_json(path, remedy) or []
    with blaming(path, "does not tell how the run was trained", remedy):
        for session in sessions:
            datetime.fromisoformat(session["begun"])
            str(session["command"]), float(session["seconds"])
            ", ".join(session["devices"]), session["versions"].items()
    return sessions
