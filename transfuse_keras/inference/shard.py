"""A share of many files or cases, for the tasks of a cluster."""

from __future__ import annotations

from typing import NamedTuple

from transfuse_keras.errors import InputError


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
    """The Shard of "I/N"; InputError for anything else."""
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise InputError(f"--shard {text}: give I/N, of 8 shards 0/8 to 7/8.")
    return Shard(int(index), int(count))
