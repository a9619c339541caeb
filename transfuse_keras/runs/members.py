"""The models that --model names: one, several, or the folds of a cross-validation."""

import logging
from pathlib import Path

from transfuse_keras.errors import InputError, blaming
from transfuse_keras.files import read_json, settle
from transfuse_keras.runs.folder import COMPLETE, find_run
from transfuse_keras.runs.settings import FOLDS_FILE

log = logging.getLogger(__name__)

CLEANUP_FILE = "postprocessing.json"


def find_members(given):
    """The models that are averaged; of one, that one.

    Args:
        given: a path, or a list of them.

    Returns: list of Path.

    Raises: InputError if there is nothing at a path, or a fold is not trained to its end.
    """
    members = []
    for path in map(Path, given if isinstance(given, (list, tuple)) else [given]):
        if not settle(path).exists():
            raise InputError(f"{path}: no such model; give a run folder or the file of a model.")
        members += find_folds(path) if is_cross_validation(path) else [path]
    if len({path.resolve() for path in members}) < len(members):
        raise InputError(f"--model: {' '.join(map(str, members))} names one model twice.")
    return members


def is_cross_validation(path):
    return (Path(path) / FOLDS_FILE).is_file()


def find_folds(folder):
    """The run folders of a cross-validation."""
    folds = name_folds(folder)
    missing = [fold.name for fold in folds if not (fold / COMPLETE).is_file()]
    if missing:
        raise InputError(
            f"{folder}: {missing[0]} is not trained to its end; go on by --resume, or name the "
            "folds that are to be averaged."
        )
    return folds


def name_folds(folder):
    """The run folders that a cross-validation has, or will have."""
    with blaming(folder / FOLDS_FILE, "does not tell the number of folds"):
        count = int(read_json(folder / FOLDS_FILE)["folds"])
    return [folder / f"fold-{k}" for k in range(count)]


def find_cleanup(members):
    """What the cross-validation that models are all folds of found best for its volumes.

    Args:
        members: paths of models.

    Returns: {"largest_region": bool, "largest_component": {class: bool}}, see `clean`; None where
    they are no cross-validation, or it had nothing to clean up. It is logged.

    Raises: InputError if its file is damaged.
    """
    runs = [find_run(path) for path in members]
    folder = runs[0] and runs[0].parent
    if None in runs or not is_cross_validation(folder) or {*runs} != {*name_folds(folder)}:
        return None
    file = folder / CLEANUP_FILE
    with blaming(file, "does not tell how masks are cleaned up", "pool the folds by --resume"):
        content = read_json(file)
        if content is None:
            return None
        found = {"largest_region": False, **content}
        names = [name for name, cut in found["largest_component"].items() if cut]
    if names or found["largest_region"]:
        all_together = ["all classes together"] * found["largest_region"]
        log.info(f"Only the largest component stays of {', '.join(all_together + names)}: {file}.")
    return found
