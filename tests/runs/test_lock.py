"""One process writes a run folder at a time."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from transfuse_keras import files
from transfuse_keras.errors import InputError
from transfuse_keras.runs import lock
from transfuse_keras.runs.folder import choose_run_folder, find_run, writing_run

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from pathlib import Path
from transfuse_keras.runs.lock import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(300)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that has locked `tmp_path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_writer_is_refused_until_the_first_is_dead(tmp_path, other):
    with pytest.raises(InputError, match=f"process {other.pid} on"), lock.locked(tmp_path):
        pass
    with pytest.raises(InputError, match="process"), writing_run(tmp_path, "hip", resume=False):
        pass
    other.kill()
    other.wait()
    with lock.locked(tmp_path):
        assert lock.read_lock(tmp_path / lock.LOCK)["process"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_a_number_that_another_process_has_now_is_not_the_writer(tmp_path):
    holder = {**lock.describe_process(), "process": os.getppid()}
    holder["start"] = psutil.Process(os.getppid()).create_time() - 1000
    (tmp_path / lock.LOCK).write_text(json.dumps(holder))
    with lock.locked(tmp_path):
        pass


@pytest.mark.parametrize("touched", [True, False])
def test_a_writer_on_another_host_counts_as_long_as_it_touches_its_lock(
    tmp_path, monkeypatch, touched
):
    monkeypatch.setattr(lock, "PATIENCE", 1)
    path, ended = tmp_path / lock.LOCK, threading.Event()
    path.write_text(json.dumps({**lock.describe_process(), "host": "node7"}))
    if touched:
        monkeypatch.setattr(lock, "BEAT", 0.2)
        threading.Thread(target=lock.beat, args=(path, ended), daemon=True).start()
        with pytest.raises(InputError, match="node7"), lock.locked(tmp_path):
            pass
        ended.set()
    else:
        with lock.locked(tmp_path):
            assert lock.read_lock(path)["host"] != "node7"


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_lock_that_says_nothing_blocks_nobody(tmp_path, content):
    (tmp_path / lock.LOCK).write_text(content)
    with lock.locked(tmp_path):
        pass


def test_runs_that_start_at_once_get_a_folder_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, first_free, barrier = [], files.first_free, threading.Barrier(5)

    def all_see_the_same(path):
        free = first_free(path)
        if not found:
            time.sleep(0.1)
        return free

    monkeypatch.setattr(files, "first_free", all_see_the_same)

    def claim():
        barrier.wait()
        with writing_run(None, "hip", resume=False) as run:
            found.append(run)
            (run / "config.json").write_text("{}")
            time.sleep(0.1)

    threads = [threading.Thread(target=claim) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 5 and {run.parent.name for run in found} == {"savedmodels"}


def test_a_folder_in_which_nothing_was_written_goes(tmp_path):
    with pytest.raises(InputError), writing_run(tmp_path / "run", "hip", resume=False):
        raise InputError("unusable data")
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_is_no_content(tmp_path):
    (tmp_path / lock.LOCK).write_text("")
    (tmp_path / ".part.config.json").write_text("")
    assert choose_run_folder(tmp_path, "hip") == tmp_path
    (tmp_path / "thesis.txt").write_text("")
    with pytest.raises(InputError, match="holds something else"):
        choose_run_folder(tmp_path, "hip")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('{"architectures": ["Bert"]}', False),  # of a Hugging Face model
        ("// a comment is no JSON\n{}", False),
        ('["task", "recipe"]', False),
        ('{"schema": 1, "name": "of another program"}', False),
        ('{"task": "segmentation", "schema": "https://schema.org"}', False),
        ('{"task": "segmentation", "recipe": "conda"}', False),
        ('{"task": {}, "recipe": "conda"}', False),
        ('{"schema": 99, "task": {}}', True),  # of a version to come
        ('{"task": {}, "recipe": {}}', True),
    ],
)
def test_only_the_config_of_a_run_makes_a_run_folder(tmp_path, content, found):
    (tmp_path / "config.json").write_text(content)
    model = tmp_path / "models" / "model.keras"
    model.parent.mkdir()
    model.write_bytes(b"")
    assert find_run(model) == (tmp_path if found else None)


def test_a_damaged_config_is_a_runs_where_its_split_is_beside_it(tmp_path):
    (tmp_path / "config.json").write_bytes(b"\xff\xfe{")
    (tmp_path / "model.keras").write_bytes(b"")
    (tmp_path / "checkpoints").mkdir()
    assert find_run(tmp_path / "model.keras") is None
    (tmp_path / "split.csv").write_text("split,group,sample\n")
    assert find_run(tmp_path / "model.keras") == tmp_path
