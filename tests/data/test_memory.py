"""Memory that may still be taken, in control groups of both versions and at the limits of each."""

from types import SimpleNamespace

import psutil
import pytest

from transfuse_keras.data import cache, memory

GIB = 2**30


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(f"{text}\n")


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=64 * GIB))


def place(root, line):
    write(root / "proc/self", cgroup=line)
    return root / "sys/fs/cgroup"


def test_the_groups_of_version_2_count_with_all_that_hold_them(tmp_path):
    base = place(tmp_path, "0::/slurm/job7/step0")
    stat = {"memory_stat": f"anon 5\ninactive_file {GIB}"}
    write(base / "slurm/job7/step0", memory_max="max", memory_current=5 * GIB, **stat)
    assert memory.available_memory(tmp_path) == 64 * GIB
    write(base / "slurm/job7", memory_max=16 * GIB, memory_current=6 * GIB, **stat)
    assert memory.available_memory(tmp_path) == 11 * GIB  # cached files make room
    write(base, memory_max=8 * GIB, memory_current=7 * GIB, **stat)
    assert memory.available_memory(tmp_path) == 2 * GIB


def test_a_group_of_version_1_counts(tmp_path):
    base = place(tmp_path, "5:cpu,cpuacct:/x\n4:memory:/docker/abc")
    files = {"memory_limit_in_bytes": 4 * GIB, "memory_usage_in_bytes": 3 * GIB}
    # a container sees its own group at the top, while its place is that on the host
    write(base / "memory", **files, memory_stat="total_inactive_file 0")
    assert memory.available_memory(tmp_path) == GIB


def test_a_machine_without_groups_has_what_is_free(tmp_path):
    assert memory.available_memory(tmp_path) == 64 * GIB


@pytest.mark.parametrize(("fstype", "told"), [("tmpfs", True), ("ext4", False)])
def test_temporary_files_in_memory_are_said(tmp_path, monkeypatch, capsys, fstype, told):
    mounts = [("/", "ext4"), (str(tmp_path), fstype)]
    parts = [SimpleNamespace(mountpoint=point, fstype=kind) for point, kind in mounts]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: parts)
    monkeypatch.setattr(memory.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(cache, "available_memory", lambda: 10)
    cache.allocate(((5, 5), "uint8"))
    said = capsys.readouterr()
    assert ("TMPDIR" in said.err) == told and ("kept in" in said.out) != told
