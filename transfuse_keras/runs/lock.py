"""The lock of a run folder: one process writes it at a time, and a dead one blocks nobody."""

import json
import logging
import os
import platform
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from transfuse_keras.errors import InputError
from transfuse_keras.files import insist

log = logging.getLogger(__name__)

LOCK = ".lock"
BEAT = 20  # seconds after which a living process touches its lock again
PATIENCE = 120  # seconds without a touch after which a process elsewhere counts as dead


@contextmanager
def locked(folder):
    """Within this context no other process writes into a folder in such a context.

    A lock file names host, process and its start. The lock of a process that has ended is taken
    over: at once if it ran on this host, else when its file has not been touched for PATIENCE
    seconds, which are waited for.

    Args:
        folder: Path of an existing folder.

    Raises: InputError if another process is writing there.
    """
    path, mine = Path(folder) / LOCK, describe_process()
    while not create(path, mine):
        holder = read_lock(path)
        if is_alive(path, holder):
            raise InputError(
                f"{folder}: process {holder['process']} on {holder['host']} is writing there; wait "
                "for its end, or give --out another folder."
            )
        discard(path, holder)
    ended = threading.Event()
    threading.Thread(target=beat, args=(path, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        if read_lock(path) == mine:
            insist(path.unlink)


def describe_process():
    """This process as plain data: host with its space of process numbers, number, start."""
    with suppress(OSError):  # two containers on a host may have the same name and number
        space = os.readlink("/proc/self/ns/pid")
        return {"host": platform.node(), "space": space, **number_and_start()}
    return {"host": platform.node(), "space": None, **number_and_start()}


def number_and_start():
    import psutil  # here and below: most commands write no run, and start sooner without it

    return {"process": os.getpid(), "start": psutil.Process().create_time()}


def create(path, content):
    """Write a lock that is not there. Returns: whether it was not."""
    try:
        with path.open("x", encoding="utf-8") as file:
            json.dump(content, file)
    except FileExistsError:
        return False
    except OSError as error:  # a full disk is not to leave an empty lock
        error.filename = error.filename or str(path)
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise
    return True


def read_lock(path):
    """What a lock says; None if it is gone, empty or damaged."""
    for _ in range(5):  # its writer may not have come to the content yet
        with suppress(OSError, ValueError):
            content = json.loads(path.read_text(encoding="utf-8"))
            return content if isinstance(content, dict) and "process" in content else None
        if not path.exists():
            return None
        time.sleep(0.1)
    return None


def is_alive(path, holder):
    """Whether the process that a lock names still runs."""
    if holder is None:
        return False
    import psutil

    ours = describe_process()
    if all(holder.get(key) == ours[key] for key in ("host", "space")):
        with suppress(psutil.Error):
            started = psutil.Process(int(holder["process"])).create_time()
            return abs(started - float(holder["start"])) < 5  # a clock may be set meanwhile
        return False
    log.info(
        f"{path}: process {holder['process']} on {holder.get('host')} was writing here; waiting "
        f"{PATIENCE} s at most for a sign of it."
    )
    seen, deadline = touched(path), time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if touched(path) != seen:  # on the clock of the disk, whatever the hosts' clocks say
            return path.exists()
        time.sleep(min(1, PATIENCE / 10))
    return False


def touched(path):
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def discard(path, holder):
    """Remove the lock of a dead process, and no other that was put in its place meanwhile."""
    aside = path.with_name(f"{LOCK}.{os.getpid()}")
    with suppress(FileNotFoundError):
        insist(os.replace, path, aside)
        if read_lock(aside) == holder:
            insist(aside.unlink)
        else:
            insist(os.replace, aside, path)


def beat(path, ended):
    """Touch a lock until its context has ended."""
    while not ended.wait(BEAT):
        with suppress(OSError):
            os.utime(path)
