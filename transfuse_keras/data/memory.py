"""How much memory a process may still take: what is free, or what its container leaves it."""

import tempfile
from contextlib import suppress
from pathlib import Path

import psutil

IN_MEMORY = ("tmpfs", "ramfs")  # file systems


def available_memory(root=Path("/")):
    """Bytes that this process may still take, at most what is free on the machine.

    A control group (a container, a job of Slurm) may allow less, and so may those that hold it.

    Args:
        root: Path of the folder that holds proc and sys.
    """
    return min([psutil.virtual_memory().available, *group_rooms(root)])


def group_rooms(root):
    """Bytes that each control group of this process, version 1 or 2, still allows."""
    base = root / "sys/fs/cgroup"
    files = [
        (base, "0", "memory.max", "memory.current", "inactive_file"),
        (
            base / "memory",
            "memory",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file",
        ),
    ]
    places = {}
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text("utf-8").splitlines():
            number, kinds, place = line.split(":", 2)
            places[kinds or number] = place.strip("/")
    for folder, kind, limit, usage, cached in files:
        # within a container the place is that on the host, and the files are at the top
        place = folder / next((p for kinds, p in places.items() if kind in kinds.split(",")), "")
        for group in (place, *place.parents):
            if folder not in (group, *group.parents):
                break
            with suppress(OSError, ValueError, KeyError):
                most, used = (int((group / name).read_text("utf-8")) for name in (limit, usage))
                pairs = map(str.split, (group / "memory.stat").read_text("utf-8").splitlines())
                yield max(0, most - used + int(dict(pairs)[cached]))  # cached files make room


def temporary_in_memory():
    """The folder of temporary files, if it is itself in memory; else None."""
    folder = Path(tempfile.gettempdir()).resolve()
    mounts = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    mount = next((place for place in (folder, *folder.parents) if place in mounts), None)
    return folder if mount is not None and mounts[mount] in IN_MEMORY else None
