"""What goes wrong with files: full and read-only disks, damaged checkpoints, a loss that is nan.

    python -m benchmarks.reliability.storage

Each function returns {"tried": number, "lost": number of runs or files lost, "said": what the
user read last}. A full disk is a small tmpfs, which only root can mount.
"""

import os
import random
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from benchmarks.reliability.runs import (
    EPOCHS,
    differences,
    finish,
    resume_arguments,
    train_arguments,
)
from transfuse_keras.training.checkpoints import is_intact

TOLERANCE = 1e-4  # of weights, relative; on the same machine they have been equal


@contextmanager
def small_disk(folder, options):
    """A file system of its own in memory, mounted on a new folder with these options."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def can_mount():
    """Whether this process may mount a file system."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", folder]
        done = os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0
        if done:
            subprocess.run(["umount", folder], check=True)
        return done


def last_line(text):
    return text.strip().rpartition("\n")[2]


def fill_the_disk(folder, reference):
    """A disk that is full in a later epoch: one sentence, the checkpoints intact; then --resume."""
    last = reference / "checkpoints" / f"epoch-{EPOCHS:04}.keras"
    size = 3.2 * last.stat().st_size / 2**20  # holds two, and not a third beside the best model
    with small_disk(folder / "full", f"size={size:.0f}M") as disk:
        run = disk / "run"
        code, _, errors = finish(*train_arguments(folder, run))
        said = last_line(errors)
        kept = list((run / "checkpoints").glob("epoch-*.keras"))
        right = code == 2 and "No space left on device" in said and str(disk) in said
        right &= bool(kept) and all(map(is_intact, kept)) and not list(run.rglob(".part.*"))
        subprocess.run(["mount", "-o", "remount,size=2G", disk], check=True)
        code, _, _ = finish(*resume_arguments(run))
        right &= code == 0 and differences(run, reference)["weights"] < TOLERANCE
    return {"tried": 1, "lost": int(not right), "said": said}


def write_protect(folder):
    """An output folder that cannot be written to."""
    with small_disk(folder / "protected", "ro") as disk:
        code, _, errors = finish(*train_arguments(folder, disk / "run"))
    said = last_line(errors)
    right = code == 2 and "Read-only file system" in said and str(disk) in said
    return {"tried": 1, "lost": int(not right), "said": said}


def damage(path, rng, cut):
    """Change one bit of a file, or cut it somewhere."""
    content = bytearray(path.read_bytes())
    place = rng.randrange(len(content))
    if cut:
        del content[place:]
    else:
        content[place] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def damage_checkpoints(folder, reference, times, seed=0):
    """The last checkpoint cut, or a few of its bytes changed: the one before it is used."""
    rng, lost, said = random.Random(seed), 0, ""
    for k in range(times):
        run = folder / f"cut-{k}"
        shutil.copytree(reference, run)
        (run / "metrics.json").unlink()
        last = run / "checkpoints" / f"epoch-{EPOCHS:04}.keras"
        damage(last, rng, cut=k % 2)
        harmless = is_intact(last)  # a byte of the archive that nothing depends on
        code, output, errors = finish(*resume_arguments(run))
        found = [line for line in output.splitlines() if ": damaged" in line]
        said = found[-1] if found else last_line(errors)
        right = code == 0 and (harmless or f"{last}: damaged" in said)
        lost += not (right and differences(run, reference)["weights"] < TOLERANCE)
        shutil.rmtree(run)
    return {"tried": times, "lost": lost, "said": said}


def lose_the_loss(folder):
    """A weight becomes nan in the third epoch: the step is named, the last good weights stay."""
    run = folder / "nan"
    code, _, errors = finish("nan=3", *train_arguments(folder, run))
    kept = sorted(path.name for path in (run / "checkpoints").iterdir())
    said = last_line(errors)
    right = code == 1 and "at step 1 of epoch 3" in said and is_intact(run / "model.keras")
    right &= kept == ["best.keras", "epoch-0001.keras", "epoch-0002.keras"]
    return {"tried": 1, "lost": int(not right), "said": said}


def measure(times=4):
    """Everything in this file: {what was done: its result}; without root no disk is filled."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        reference = folder / "reference"
        code, _, errors = finish(*train_arguments(folder, reference))
        if code:
            raise RuntimeError(errors)
        if can_mount():
            results["disk full in an epoch"] = fill_the_disk(folder, reference)
            results["read-only output folder"] = write_protect(folder)
        results["last checkpoint damaged"] = damage_checkpoints(folder, reference, times)
        results["loss becomes nan"] = lose_the_loss(folder)
    return results


if __name__ == "__main__":
    for name, result in measure().items():
        print(name, result)
