"""What the command line says without a model: help, mistakes, messages, tracebacks."""

import ast
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from transfuse_keras import cli, commands
from transfuse_keras.errors import InputError
from transfuse_keras.training import begin

ROOT = Path(__file__).parents[1]
COMMANDS = list(cli.parser().commands.choices)
HEAVY = {"tensorflow", "keras", "jax", "matplotlib", "scipy", "cv2", "pandas", "sklearn"}
QUESTIONS = [
    *([*words, "--help"] for words in ([], *([name] for name in COMMANDS))),
    *(["--version"], [], ["trian"], ["--bogus"], ["train", "--epcohs", "3"], ["train"]),
    ["train", "--task", "hip", "--epochs", "many"],
    ["train", "--task", "knee"],
    ["train", "--task", "hip", "--data", "missing"],
    ["train", "--task", "hip", "--lr", "-1"],
    ["train", "--task", "hip", "--out", "taken"],
    ["train", "--resume"],
    ["train", "--from", "missing.json"],
    ["ablate", "--task", "hip", "--data", "missing"],
    ["check", "--task", "hip", "--data", "missing"],
    ["convert", "--data", "missing", "--out", "out"],
    ["predict", "--model", "missing", "--input", "a.png", "--out", "out"],
    ["evaluate", "--model", "taken", "--out", "taken"],
    ["export", "--model", "missing", "--format", "onnx"],
    ["export", "--model", "taken", "--format", "word"],
    ["inspect", "missing"],
    ["node", "--dicomweb", "http://x", "--modality", "DX", "--model", "missing"],
    ["serve", "--model", "missing"],
    ["benchmark", "--model", "missing"],
]


def ask(*arguments):
    """The exit code of the command line in this process."""
    try:
        return cli.main(list(map(str, arguments)))
    except SystemExit as stop:
        return stop.code


def test_help_and_every_mistake_are_told_without_a_heavy_library(tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").touch()
    code = f"""
import contextlib, io, json, sys
from transfuse_keras.cli import main
found = []
for words in {QUESTIONS!r}:
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        try:
            code = main(words)
        except SystemExit as stop:
            code = stop.code
    found.append([code, said.getvalue(), sorted({HEAVY!r} & sys.modules.keys())])
print(json.dumps(found))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert done.stderr == ""
    for words, (code, said, heavy) in zip(QUESTIONS, json.loads(done.stdout), strict=True):
        asked = "--help" in words or "--version" in words
        assert code == (0 if asked else 2), (words, said)
        assert said.count("\n") == (0 if asked else 1), (words, said)
        assert not heavy, words


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["trian"], ["'trian'", "did you mean train?", "transfuse --help"]),
        (
            ["train", "--epcohs", 3],
            ["--epcohs", "did you mean --epochs?", "transfuse train --help"],
        ),
        (["check", "--taks", "hip"], ["did you mean --task?", "transfuse check --help"]),
        # half a name is no option, even if one alone begins so; no task, as nothing may be trained
        (["train", "--task", "knee", "--epoch", 3], ["--epoch ", "did you mean --epochs?"]),
        (["ablate", "--task=knee", "--epoch=3"], ["--epoch ", "did you mean --epochs?"]),
        (["--verb", "report", "x"], ["--verb ", "did you mean --verbose?"]),
        (["predict", "--overlays=no"], ["--no-overlays", "transfuse predict --help"]),
        (["train", "--qqqq"], ["--qqqq; see transfuse train --help"]),
    ],
)
def test_a_mistyped_word_names_the_nearest_and_the_help_to_read(capsys, words, parts):
    assert ask(*words) == 2
    said = capsys.readouterr().err
    assert all(part in said for part in parts) and said.count("\n") == 1


def test_no_script_takes_half_a_name_either():
    """Each builds its own parser, since some run without the package."""
    taking, refusing = [], []
    for folder in ("benchmarks", "docs", "edge", "examples", "notebooks", "train"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("ArgumentParser"):
                    given = {x.arg: ast.unparse(x.value) for x in node.keywords}
                    found = refusing if given.get("allow_abbrev") == "False" else taking
                    found.append(f"{path}:{node.lineno}")
    assert not taking and refusing


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_its_examples_and_a_page_that_is_there(capsys, name):
    assert ask(name, "--help") == 0
    page = capsys.readouterr().out
    examples = re.findall(rf"^  transfuse ({name} .*)$", page, re.MULTILINE)
    assert len(examples) == 2
    for example in examples:
        given = cli.parse([word.strip("'") for word in example.split()])
        assert given["command"] == name and hasattr(commands, f"run_{name}")
    assert (ROOT / re.search(r"^Documentation: (\S+)$", page, re.MULTILINE)[1]).is_file()


def test_the_help_tells_the_exit_codes_and_the_version_the_version(capsys):
    assert ask("--help") == ask("--version") == 0
    page = capsys.readouterr().out
    assert re.findall(r"^  (\d+) +\S", page, re.MULTILINE) == ["0", "1", "2", "130"]
    assert page.splitlines()[-1] == f"transfuse {cli.__version__}"


def speak(**options):
    """A command that says something at every level."""
    log = logging.getLogger("transfuse_keras.speak")
    for level in ("debug", "info", "warning", "error"):
        getattr(log, level)(level)
    print("progress")


@pytest.mark.parametrize(
    ("options", "out", "err"),
    [
        ([], ["info", "progress"], ["warning", "error"]),
        (["-q"], [], ["warning", "error"]),
        (["-v"], ["debug", "info", "progress"], ["warning", "error"]),
    ],
)
def test_messages_go_to_stdout_and_warnings_to_stderr(monkeypatch, capsys, options, out, err):
    monkeypatch.setattr(commands, "run_report", speak)
    for words in ([*options, "report", "x"], ["report", "x", *options]):
        assert ask(*words) == 0
        said = capsys.readouterr()
        assert said.out.splitlines() == out and said.err.splitlines() == err


LATE = """
import sys
from transfuse_keras import cli, commands
commands.run_inspect = lambda files: print(files, sys.stdin.read())
sys.exit(cli.main(["inspect", "x"]))
"""


@pytest.mark.parametrize(
    "given",
    [
        ["-m", "transfuse_keras", "inspect", "docs/models/hip/model-int8.tflite"],
        ["-c", LATE],  # the last words are still in the buffer when the command ends
    ],
)
def test_a_reader_that_has_seen_enough_is_no_error(given):
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    env = {**os.environ, "PYTHONUNBUFFERED": ""}
    with subprocess.Popen([sys.executable, *given], cwd=ROOT, env=env, **pipes) as one:
        one.stdout.close()  # as `| head -0` does
        one.stdin.close()
        assert one.stderr.read() == b""
    assert one.returncode == 1


def test_no_line_is_said_twice_whatever_a_library_does_to_the_root(monkeypatch, capsys):
    monkeypatch.setattr(logging.root, "handlers", [])
    with cli.printing():
        logging.basicConfig(level=logging.INFO)  # as logging.info() does in TensorFlow's exports
        logging.getLogger("transfuse_keras.export").info("Wrote a file")
        logging.getLogger("transfuse_keras.export").warning("Look")
        logging.getLogger("another").warning("Beware")
    said = capsys.readouterr()
    assert said.out == "Wrote a file\n" and said.err == "Look\nBeware\n"
    assert logging.root.handlers == []


def test_without_the_command_line_only_warnings_are_seen():
    code = f"""
import logging, transfuse_keras, transfuse_keras.cli
assert not logging.getLogger("transfuse_keras").handlers
{"".join(f"logging.getLogger('transfuse_keras.a').{x}('{x}'){chr(10)}" for x in ("info", "error"))}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("", "error\n")


def refuse(folder):
    raise InputError(f"{folder}: wrong.")


def test_debug_gives_the_traceback_instead_of_the_sentence(monkeypatch, capsys):
    monkeypatch.setattr(commands, "run_report", refuse)
    assert ask("report", "a") == 2
    assert capsys.readouterr().err == "transfuse: a: wrong.\n"
    for words in (["report", "a", "--debug"], ["--debug", "report", "a"]):
        assert ask(*words) == 2
        said = capsys.readouterr().err
        assert "Traceback" in said and "in refuse" in said and "transfuse: " not in said
    monkeypatch.setenv("TRANSFUSE_DEBUG", "1")
    assert ask("report", "a") == 2 and "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("TRANSFUSE_DEBUG", "0")
    assert ask("report", "a") == 2 and "Traceback" not in capsys.readouterr().err


def interrupt(**options):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("name", "resumes"), [("train", True), ("ablate", True), ("report", False)]
)
def test_only_a_training_that_is_interrupted_can_go_on(monkeypatch, capsys, name, resumes):
    monkeypatch.setattr(commands, f"run_{name}", interrupt)
    assert ask(name, *([] if resumes else ["run"])) == 130
    said = capsys.readouterr().err
    assert "interrupted" in said and ("--resume" in said) == resumes


def test_tensorflow_is_silent_unless_asked(monkeypatch):
    monkeypatch.setattr(commands, "run_report", lambda folder: None)
    for words, level in ((["report", "x", "--debug"], None), (["report", "x"], "3")):
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
        assert ask(*words) == 0
        assert cli.os.environ.get("TF_CPP_MIN_LOG_LEVEL") == level


def test_a_complete_training_says_what_to_type_next(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [".venv/bin/transfuse"])
    monkeypatch.setattr(begin.shutil, "which", lambda name: None)
    begin.log_next_commands(Path("my run"))
    lines = capsys.readouterr().out.splitlines()
    typed = [line.partition("#")[0].split() for line in lines[1:]]
    assert [words[:2] for words in typed] == [
        [".venv/bin/transfuse", name] for name in ("predict", "evaluate", "report")
    ]
    assert all("'my run'" in line for line in lines[1:])


@pytest.mark.slow
def test_tensorflow_starts_without_a_line_on_stderr():
    code = "from transfuse_keras.runs.processor import import_tensorflow; import_tensorflow()"
    found = [
        subprocess.run(
            [sys.executable, "-c", code + "; import tensorflow as tf; tf.ones(2)"],
            env={"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": level},
            capture_output=True,
        ).stderr
        for level in "30"
    ]
    assert found[0] == b"" and b"cpu" in found[1].lower()


def test_make_says_which_package_its_python_lacks(tmp_path):
    """Debian's python3 has no ensurepip where python3-venv is not installed."""
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "ensurepip.py").write_text("raise ModuleNotFoundError")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    environment["PYTHONPATH"] = str(tmp_path)
    given = ["make", "demo", f"PYTHON={sys.executable}"]
    done = subprocess.run(given, cwd=tmp_path, env=environment, capture_output=True, text=True)
    said, ended = done.stderr.splitlines()
    assert done.returncode == 2 and not done.stdout and ended.startswith("make")
    assert said.startswith(sys.executable) and "python3-venv" in said and "PYTHON=" in said
    assert not (tmp_path / ".venv").exists()
