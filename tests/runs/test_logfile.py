"""log.txt holds what was logged from the start to the end of a run, and after a resume."""

import logging

import pytest

from transfuse_keras.runs.logfile import begin_log, logging_to_folder

log = logging.getLogger("transfuse_keras.test")


@logging_to_folder()
def train(folder, fails=False):
    """What the library does: it says something before there is a folder, and then more."""
    log.info("reading")
    log.debug("a detail")
    folder.mkdir(exist_ok=True)
    begin_log(folder)
    log.warning("slow")
    if fails:
        raise ValueError("nan")


def lines(folder):
    return [line.split(" ", 2)[2] for line in (folder / "log.txt").read_text().splitlines()]


def test_all_of_a_run_is_in_its_log_and_a_resume_is_appended(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(ValueError):
        train(run, fails=True)
    begun = ["INFO reading", "WARNING slow", "ERROR ended by ValueError: nan"]
    assert lines(run) == begun
    train(run)
    assert lines(run) == [*begun, "INFO reading", "WARNING slow"]
    log.info("later")
    begin_log(tmp_path)
    assert len(lines(run)) == 5 and not (tmp_path / "log.txt").exists()


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path, capsys):
    (tmp_path / "log.txt").mkdir()
    train(tmp_path)
    assert capsys.readouterr().err == "slow\n"


def test_nothing_is_written_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with logging_to_folder():
        log.info("no folder")
    assert not list(tmp_path.iterdir())
