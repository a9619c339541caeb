"""What the worker process does: it holds the model and predicts one request at a time."""

import json
import logging
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

from transfuse_keras.errors import Failure, InputError
from transfuse_keras.files import read_table
from transfuse_keras.inference.choose import choose_file
from transfuse_keras.inference.inputs import find_inputs
from transfuse_keras.inference.measurements import MEASUREMENTS, SIZE_NAMES, WHOLE
from transfuse_keras.inference.predict_files import load_members, predict_files, settle
from transfuse_keras.inference.runtimes import read_memory
from transfuse_keras.runs.processor import prefer_onednn
from transfuse_keras.versions import describe_missing

NUMBERS = ("slice", *SIZE_NAMES)  # columns
GIVEN, MADE = "image", "masks"  # folders of a request: what came in, what goes out
MEMORY = 2**31  # bytes that a request may take beside the model


def work(models, pipe):
    """Answer (folder, seg, measure), as of `predict_request`, until the other end is closed.

    An answer is ("done", rows), or ("refused", sentence). The first is ("ready", None) or
    ("refused", sentence).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which closes the pipe
    try:
        loaded = load([Path(model) for model in models])
    except (InputError, Failure, ImportError) as error:
        missing = describe_missing(error) if isinstance(error, ImportError) else None
        pipe.send(("refused", missing or str(error)))
        return
    limit_memory()
    pipe.send(("ready", None))
    while True:
        try:
            folder, *options = pipe.recv()
        except EOFError:
            return
        try:
            answer = "done", predict_request(*loaded, Path(folder), *options)
        except (InputError, Failure) as error:
            answer = "refused", str(error)
        except MemoryError:
            answer = "refused", f"Needs more than {MEMORY // 2**20} MiB of memory; make it smaller."
        pipe.send(answer)


def load(models):
    """The files that predict for models, as of `choose_file`, and the Predictor of each."""
    prefer_onednn()
    files = [choose_file(model) for model in models]
    return files, load_members(files, None, None, settle(files)[0])


def limit_memory():
    """From now on this process cannot hold more than MEMORY beside what it holds; Linux only."""
    if sys.platform == "linux":
        import resource

        most = read_memory("VmData") + MEMORY
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def predict_request(files, predictors, folder, seg, measure):
    """Predict what lies in `folder`/GIVEN and write the files of `predict_files` to `folder`/MADE.

    Args:
        files, predictors: what `load` gave.
        folder: Path; its GIVEN holds one file, or the DICOM slices of a series.
        seg, measure: as of `predict_files`.

    Returns: the rows of measurements.csv, numbers as numbers; none if not `measure`.

    Raises: InputError if a file cannot be used, or there are several images or series.
    """
    given = list((folder / GIVEN).iterdir())
    inputs = given if len(given) == 1 else [folder / GIVEN]
    found, _ = find_inputs(inputs, settle(files)[0])
    if len({item.sources for item in found}) > 1:
        raise InputError("The files are several images or series; send each in its own request.")
    made = folder / MADE
    with collecting() as sentences:
        failed = predict_files(
            files, inputs, made, overlays=False, seg=seg, measure=measure, predictors=predictors
        )
    if failed:
        raise InputError(sentences[0])
    rows = [
        {**row, **{name: parse_number(row[name]) for name in NUMBERS}}
        for row in (read_table(made / MEASUREMENTS) if measure else ())
    ]
    for table in made.glob("*.csv"):  # of sizes and, where the model has a Trust, of what to review
        table.unlink()
    return rows


def parse_number(text):
    """A cell of NUMBERS as a number, WHOLE as it is, None where it is empty."""
    return text if text == WHOLE else json.loads(text or "null")


@contextmanager
def collecting():
    """Within this context: the list of sentences that the package logs as errors."""
    sentences = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: sentences.append(record.getMessage())
    logger = logging.getLogger("transfuse_keras")
    logger.addHandler(handler)
    try:
        yield sentences
    finally:
        logger.removeHandler(handler)
