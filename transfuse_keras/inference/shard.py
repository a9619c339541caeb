"""A share of many files or cases, for the tasks of a cluster."""

from __future__ import annotations

import logging
import os
from typing import NamedTuple

from transfuse_keras.errors import InputError

log = logging.getLogger(__name__)

# of an array of Slurm and an indexed Job of Kubernetes. Slurm tells a number of tasks, too, but of
# an array that repeats two shards of eight it is 2.
INDICES = ("SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX")


class Shard(NamedTuple):
    """Share `index` of `count`, counted from 0 as Slurm and Kubernetes count.

    Example:
        >>> Shard(1, 3).take("abcdefg")
        ['b', 'e']
        >>> Shard(1, 3).of(["x1", "x2", "y1", "z1"], key=lambda name: name[0])  # x stays together
        ['y1']
    """

    index: int
    count: int

    def __str__(self):
        return f"{self.index}-of-{self.count}"

    def take(self, items):
        """Every `count`-th item, from the one at `index` on: a list."""
        return list(items)[self.index :: self.count]

    def of(self, items, key):
        """The items of every `count`-th value of `key`, in the order in which these come."""
        kept = set(self.take(dict.fromkeys(map(key, items))))
        return [item for item in items if key(item) in kept]


def parse_shard(text):
    """The Shard of "I/N", or of "auto/N": then INDICES tell I. InputError for anything else."""
    index, _, count = text.partition("/")
    if index == "auto":
        by = next((name for name in INDICES if name in os.environ), None)
        if by is None:
            raise InputError(f"--shard {text}: {' and '.join(INDICES)} are not set; give I/N.")
        index = os.environ[by]
        log.info(f"Share {index} of {count}, counted from 0, by {by}.")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise InputError(f"--shard {index}/{count}: give I/N, of 8 shards 0/8 to 7/8.")
    return Shard(int(index), int(count))
