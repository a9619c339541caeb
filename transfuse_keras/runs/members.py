"""The models that --model names: one, several, or the folds of a cross-validation."""

from pathlib import Path

from transfuse_keras.errors import InputError, blaming
from transfuse_keras.files import read_json
from transfuse_keras.runs.folder import COMPLETE
from transfuse_keras.runs.settings import FOLDS_FILE


def find_members(given):
    """The models that are averaged; of one, that one.

    Args:
        given: a path, or a list of them.

    Returns: list of Path.

    Raises: InputError if there is nothing at a path, or a fold is not trained to its end.
    """
    members = []
    for path in map(Path, given if isinstance(given, (list, tuple)) else [given]):
        if not path.exists():
            raise InputError(f"{path}: no such model; give a run folder or the file of a model.")
        members += find_folds(path) if is_cross_validation(path) else [path]
    if len({path.resolve() for path in members}) < len(members):
        raise InputError(f"--model: {' '.join(map(str, members))} names one model twice.")
    return members


def is_cross_validation(path):
    return (Path(path) / FOLDS_FILE).is_file()


def find_folds(folder):
    """The run folders of a cross-validation."""
    with blaming(folder / FOLDS_FILE, "does not tell the number of folds"):
        count = int(read_json(folder / FOLDS_FILE)["folds"])
    folds = [folder / f"fold-{k}" for k in range(count)]
    missing = [fold.name for fold in folds if not (fold / COMPLETE).is_file()]
    if missing:
        raise InputError(
            f"{folder}: {missing[0]} is not trained to its end; go on by --resume, or name the "
            "folds that are to be averaged."
        )
    return folds
