"""Whether options ask for other settings than those that a run was begun with."""

from dataclasses import replace

from transfuse_keras.errors import InputError
from transfuse_keras.runs.options import OF_THE_FIRST, find_settings, parse_settings, spell_option
from transfuse_keras.runs.settings import plain_settings
from transfuse_keras.tasks.task import RECIPE_CHANGES

CHANGED_BY_RECIPE = {name for changes in RECIPE_CHANGES.values() for name in changes}
FOUND_ON_DATA = ("augmentation", "value_range", "dicom_range")  # of a task


def refuse_other_settings(run, settings, given, source=None, folds=None):
    """Raise InputError, with all options that ask for something else than a run was begun with.

    Args:
        run: Path of the run folder, or of the folder of a cross-validation.
        settings: its Settings.
        given, source: as of `find_settings`.
        folds: the number of folds of a cross-validation.
    """
    if source is None:
        asked = parse_settings({"data": settings.data, **given}, settings.task)
        names = [name for name in given if name != "folds"]
    else:
        asked, names = find_settings(given, source), ["source"]
        settings = replace(settings, **OF_THE_FIRST)
    if folds is not None:
        names.append("folds")
    ours, theirs = (
        {
            **plain,
            **plain["recipe"],
            # terms change no training, and pen marks are those of the recipe
            "task": {**plain["task"], "codes": {}, "pen_marks": 0},
            **{"recipe": {}, "source": plain, "folds": count},
            "val": None if plain["validation"] else "none",
            "context": plain["task"]["context"],
        }
        for plain, count in (
            (plain_settings(asked), given.get("folds")),
            (plain_settings(settings), folds),
        )
    )
    for name in FOUND_ON_DATA:  # where the task leaves them open, training has decided
        if ours["task"][name] is None:
            ours["task"][name] = theirs["task"][name]
    if ours["white_balance"] is True and theirs["white_balance"]:  # its colour is found on the data
        ours["white_balance"] = theirs["white_balance"]
    if "context" not in given and not ours["context"]:  # the run was begun with the option
        ours["task"]["context"] = theirs["task"]["context"]
    for name in CHANGED_BY_RECIPE - set(given):
        ours["recipe"][name], theirs["recipe"][name] = ours[name], theirs[name]
    different = [name for name in names if ours[name] != theirs[name]]
    if different:
        listed = (
            spell_option(name)
            if isinstance(ours[name], dict)
            else f"{spell_option(name)} ({spell_setting(ours[name])}, "
            f"it has {spell_setting(theirs[name])})"
            for name in different
        )
        raise InputError(
            f"{run}: was begun with other settings than {', '.join(listed)}; leave these options "
            "out to go on with it, or give another --out to start anew."
        )


def spell_setting(value):
    """A value as it is given on the command line."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
