"""Splitting samples so that no patient is on two sides."""

import numpy as np

from transfuse_keras.errors import InputError

SPLITS = {"train": 7, "val": 1, "test": 2}  # the paper's ratio for the hip task


def split_by_group(samples):
    """Divide samples 7:1:2 by group.

    The groups are shuffled with a fixed seed: the split depends on the data alone, so runs with
    other training seeds are scored on the same samples. Every part has at least one group.

    Args:
        samples: list of Sample.

    Returns: {"train", "val", "test"} -> list of Sample, in the order given.

    Raises: InputError with fewer than three groups.
    """
    groups = sorted({sample.group for sample in samples})
    if len(groups) < len(SPLITS):
        raise InputError(
            f"{len(groups)} patients ({', '.join(groups)}) cannot be split into training, "
            "validation and test; give at least 3, named before the first '_' of each file."
        )
    np.random.default_rng(0).shuffle(groups)
    total = sum(SPLITS.values())
    val, test = (max(1, round(len(groups) * SPLITS[part] / total)) for part in ("val", "test"))
    parts = {
        "train": groups[val + test :],
        "val": groups[:val],
        "test": groups[val : val + test],
    }
    return {
        part: [sample for sample in samples if sample.group in set(members)]
        for part, members in parts.items()
    }
