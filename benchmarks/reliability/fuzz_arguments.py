"""Argument lists for the `transfuse` command, right ones and wrong ones."""

import argparse
import os
from pathlib import Path

from benchmarks.reliability.fuzz_seeds import png, run_files

# nothing is there that could be trained on, so that no list begins a training
PLACES = ("missing", "empty", "file.txt", "damaged", "run", "run/model.keras", "model.tflite")
TRAINING = ("train", "ablate")
NUMBERS = ("-1", "0", "1", "16", "32", "1e9", "nan", "inf", "-inf", "0.5", "auto", str(10**30))
WORDS = ("", " ", "none", "hip", "prostate", "x" * 5000, "é/名", "a b", "\udcff", "task.py", "%s")


def make_places(folder):
    """The files and folders that PLACES names."""
    for name in ("empty", "damaged/images", "damaged/masks", "run/saved_model"):
        Path(folder, name).mkdir(parents=True)
    for name in ("file.txt", "model.tflite", "run/model.keras", "run/saved_model/saved_model.pb"):
        Path(folder, name).write_bytes(b"nothing")
    for name, content in run_files().items():
        Path(folder, "run", name).write_bytes(content)
    for stem in "abc":
        Path(folder, "damaged", "images", f"{stem}.png").write_bytes(png()[0][:60])
        Path(folder, "damaged", "masks", f"{stem}.png").write_bytes(png()[0])
    Path(folder, "task.py").write_text("raise ValueError('no task')\n", encoding="utf-8")


def argument_list(rng, parser):
    """A command with some of its options.

    The options are those that `parser` has. A training is always told a folder of PLACES, so
    none begins.
    """
    commands = next(x for x in parser._actions if isinstance(x, argparse._SubParsersAction)).choices
    name = sorted(commands)[rng.integers(len(commands))]
    found = [] if rng.random() < 0.01 else [name]
    # ablate --list takes a minute, whatever else is asked; --debug is for tracebacks
    left_out = ("help", "only_list", "debug")
    options = [action for action in commands[name]._actions if action.dest not in left_out]
    for action in options:
        chance = 0.95 if action.required or action.dest == "data" else 0.3
        times = int(rng.random() < chance) + int(rng.random() < 0.03)
        for _ in range(times):
            found += [*action.option_strings[-1:], *select_values(rng, action)]
    if rng.random() < 0.03:
        found.insert(int(rng.integers(1, len(found) + 1)), str(pick(rng, WORDS)))
    if rng.random() < 0.01:
        found.append("--help")
    return [*found, "--data", str(pick(rng, PLACES))] if name in TRAINING else found


def select_values(rng, action):
    """Values for an option, mostly as many as it takes."""
    if action.nargs == 0:
        return []
    count = action.nargs if isinstance(action.nargs, int) else 1
    count += int(rng.random() < 0.05) - int(rng.random() < 0.05)
    return [value_of(rng, action) for _ in range(max(count, 0))]


def value_of(rng, action):
    if rng.random() < 0.15:
        return str(pick(rng, (*WORDS, *NUMBERS, *PLACES)))
    if action.choices:
        return str(pick(rng, list(action.choices)))
    if action.dest == "task":
        return str(pick(rng, ("hip", "polyp", "skin", "prostate", "task.py")))
    return str(pick(rng, PLACES if action.type is None else NUMBERS))


def pick(rng, values):
    return values[rng.integers(len(values))]


def written_elsewhere(event, arguments, folder):
    """What an audit event of Python writes outside of `folder`, or None."""
    if event == "open":
        path, mode, flags = arguments
        writes = (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if isinstance(path, int) or not writes or mode == "r":
            return None
        paths = [path]
    elif event in ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "shutil.rmtree"):
        paths = [x for x in arguments[:2] if isinstance(x, (str, bytes, os.PathLike))]
    else:
        return None
    places = [os.path.realpath(os.fsdecode(path)) for path in paths]
    allowed = (os.path.realpath(folder), "/dev/null")
    return next((x for x in places if not x.startswith(allowed) and "__pycache__" not in x), None)
