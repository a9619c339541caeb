"""kill -9 at any moment of a training, then --resume.

python -m benchmarks.reliability.kill --times 20 --seed 0
"""

import argparse
import contextlib
import itertools
import random
import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.reliability.runs import (
    differences,
    finish,
    resume_arguments,
    start,
    train_arguments,
)


def kill_after(process, seconds):
    """Kill a process some time after its start. Returns: where it was; None if it had ended."""
    with contextlib.suppress(Exception):
        process.wait(seconds)
        return None
    process.kill()
    process.communicate()
    return f"{seconds:.1f} s after the start"


def kill_while_writing(process, run, count):
    """Kill a process when it is writing its `count`-th file. Returns as `kill_after`."""
    seen, before = 0, set()
    while process.poll() is None:
        now = {path.name for path in run.rglob(".part.*")}
        begun, before = now - before, now  # a disk gives the number of a file to the next one
        seen += len(begun)
        if begun and seen >= count:
            process.kill()
            process.communicate()
            return f"while writing {begun.pop().removeprefix('.part.')}"
        time.sleep(0.005)
    return None


def draw_moment(run, rng, duration):
    """A function that kills a process at a random moment, and returns as `kill_after`.

    Args:
        run: Path of the run folder.
        rng: random.Random.
        duration: seconds that an uninterrupted training takes.
    """
    if rng.random() < 0.5:
        return partial(kill_after, seconds=rng.uniform(0.2, 1) * duration)
    return partial(kill_while_writing, run=run, count=rng.randint(1, 12))


def interrupt(folder, run, moments):
    """Train with a kill at each of the moments, then to the end.

    Args:
        folder: Path to work in.
        run: Path of the run folder.
        moments: functions that kill a process and return as `kill_after`.

    Returns: list of where it was killed. Raises RuntimeError if it cannot go on.
    """
    places = []
    for kill_at_moment in moments:
        begun = (run / "config.json").is_file()
        arguments = resume_arguments(run) if begun else train_arguments(folder, run)
        process = start(*arguments)
        place = kill_at_moment(process)
        if place is None:
            if process.returncode:
                raise RuntimeError(f"after {places}: {process.communicate()[1]}")
            return places
        places.append(place)
        print(f"killed {place}", file=sys.stderr)
    begun = (run / "config.json").is_file()
    arguments = resume_arguments(run) if begun else train_arguments(folder, run)
    code, _, errors = finish(*arguments)
    if code:
        raise RuntimeError(f"after {places}: {errors}")
    return places


def measure(times, seed):
    """Kill trainings `times` times in all and compare each with one that was not.

    Returns: {"kills": number, "places": list, "worst": largest `differences`}.
    """
    rng = random.Random(seed)
    places, worst = [], {"weights": 0.0, "history": 0.0, "metrics": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        begun = time.monotonic()
        code, _, errors = finish(*train_arguments(folder, folder / "reference"))
        if code:
            raise RuntimeError(errors)
        duration = time.monotonic() - begun
        for number in itertools.count():
            if len(places) >= times:
                break
            run = folder / f"run-{number}"
            kills = min(times - len(places), rng.randint(1, 4))
            moments = [draw_moment(run, rng, duration) for _ in range(kills)]
            places += interrupt(folder, run, moments)
            found = differences(run, folder / "reference")
            worst = {key: max(value, found[key]) for key, value in worst.items()}
            shutil.rmtree(run)
            print(f"{len(places)} kills, largest differences {worst}", file=sys.stderr)
    return {"kills": len(places), "places": places, "worst": worst}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    print(measure(**vars(parser.parse_args())))
