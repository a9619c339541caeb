"""Whether models that predict together, an ensemble, fit together, and what is known of them."""

import logging
from dataclasses import replace

import numpy as np

from transfuse_keras.errors import InputError
from transfuse_keras.runs.metadata import RANGES, known_task
from transfuse_keras.runs.other_settings import spell_setting

log = logging.getLogger(__name__)

# of a task: what models that are averaged have in common
SHARED = (
    *("name", "classes", "channels", "exclusive", "mirror_pairs", "field", "channel_suffixes"),
    "flips",
)
NEAR = 0.05  # folds find their ranges of grey levels on other images; so far apart they may be


def known_together(members):
    """What is known of models that predict together, as `known_task` tells of one.

    Their thresholds are averaged; so are ranges of grey levels that are nearly the same.

    Args:
        members: list of paths.

    Returns: (Task, tuple of a threshold for each class), or None if no member tells its task.

    Raises: InputError if they do not fit together.
    """
    found = [known_task(path) for path in members]
    if len(members) == 1 or not any(found):
        return found[0]
    if None in found:
        raise InputError(
            f"{members[found.index(None)]}: does not tell its task, so it is not averaged with "
            "others; give its run folder, or export it again."
        )
    (task, _), *others = found
    for path, (other, _) in zip(members[1:], others, strict=True):
        for name in SHARED:
            ours, theirs = getattr(task, name), getattr(other, name)
            if ours != theirs:
                raise InputError(
                    f"{path}: does not fit to {members[0]}: its {name} is {spell_setting(theirs)}, "
                    f"not {spell_setting(ours)}; models that are averaged are of one task."
                )
    changes = {name: average_ranges(members, found, name) for name in RANGES}
    if any(other.augmentation != task.augmentation for other, _ in others):
        changes["augmentation"] = None
    if any(other.sure != task.sure for other, _ in others):
        all_keep = set(task.classes).intersection(*(of.sure or () for of, _ in found))
        changes["sure"] = tuple(name for name in task.classes if name in all_keep)
        log.info(f"Sure components: of {', '.join(changes['sure']) or 'no class'}, as all models.")
    thresholds = np.array([of for _, of in found])
    if (thresholds != thresholds[0]).any():
        log.info("Thresholds: the mean of those of the models.")
    return replace(task, **changes), tuple(map(float, thresholds.mean(axis=0)))


def average_ranges(members, found, name):
    """The range of grey levels of models that were trained with nearly the same."""
    ranges = [getattr(task, name) for task, _ in found]
    if len(set(ranges)) == 1:
        return ranges[0]
    values = None if None in ranges else np.array(ranges, float)
    if values is None or np.ptp(values, axis=0).max() > NEAR * np.ptp(values, axis=1).min():
        raise InputError(
            f"{' and '.join(map(str, members))} read grey levels differently ({name} "
            f"{', '.join(map(spell_setting, ranges))}); train them with one {name} of the task."
        )
    low, high = map(float, values.mean(axis=0))
    log.info(f"Grey levels ({name}): {low:g} to {high:g}, the mean of those of the models.")
    return low, high
