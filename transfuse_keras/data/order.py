"""Which samples make up the batches of an epoch: a function of the seed and the epoch alone.

So a resumed run sees the batches of an uninterrupted one, and several processes, each with a share
of the samples, see together those of one.
"""

import math

import numpy as np

from transfuse_keras.errors import InputError

MAX_SHARDS = 8  # at most, and at least that many samples in each


class Order:
    """Iterating gives the batches of one epoch and moves on to the next.

    Sample i belongs to shard i % shards; every shard is shuffled for itself and the shards are
    interleaved. So process p of n, where n divides the shards and the batch size, owns the samples
    i with i % n == p, and its part of every batch is rows p, p + n, ... of it.

    Args:
        count: number of samples.
        batch_size: of all processes together.
        seed: integer, or None for the given order.
        part: (p, n): which process this is, and of how many.
        whole: leave out an incomplete last batch, as several devices must share it equally.
        share: of each batch that is to show a class; None: as the samples come.

    Attributes: `epoch`, that of the next iteration, from 0; set it to begin elsewhere.
    `foreground`, bool array: which of the samples that this process owns show a class; where the
    last rows of a batch, by `share`, do not, random ones of these take their place.

    Iterating: (indices, draws, epoch): int64 (B / n,) into the samples that this process owns;
    int64 (B / n,), 0 for a sample whose turn it is, else a number of its own for each that was
    drawn in its place.

    Raises: InputError if n processes cannot share the batches equally, or if there is no whole
    batch where there must be.
    """

    def __init__(self, count, batch_size, seed=None, part=(0, 1), whole=False, share=None):
        self.count, self.batch_size, self.seed, self.part = count, batch_size, seed, part
        self.shards = count_shards(count, batch_size)
        if (batch_size if seed is None else self.shards) % part[1]:
            raise InputError(
                f"{count} images in batches of {batch_size} cannot be shared by {part[1]} "
                "processes: they must be 2, 4 or 8, divide the batch size and have "
                f"{MAX_SHARDS} images each."
            )
        self.batches = count // batch_size if whole else -(-count // batch_size)
        if whole and not self.batches:
            raise InputError(
                f"{count} training images do not fill one batch of {batch_size}, and several "
                "devices take whole batches only; give a smaller --batch-size."
            )
        self.epoch, self.foreground = 0, None
        self.first_drawn = batch_size if share is None else round(batch_size * (1 - share))
        self.known = None  # (epoch, its permutation)

    def __len__(self):
        return self.batches

    def __iter__(self):
        epoch = self.begin_epoch()
        for k in range(self.batches):
            yield self.batch(k, epoch)

    def batch(self, k, epoch):
        """Batch k of an epoch: what iterating gives."""
        p, n = self.part
        batch = self.permutation(epoch)[k * self.batch_size : (k + 1) * self.batch_size]
        picked = [self.pick(batch[r] // n, r, k, epoch) for r in range(p, len(batch), n)]
        return *np.array(picked, "int64").reshape(-1, 2).T, epoch

    def permutation(self, epoch):
        """All samples in the order of an epoch."""
        known = self.known  # threads that load batches share it
        if known is None or known[0] != epoch:
            order = np.arange(self.count)
            if self.seed is not None:
                rng = np.random.default_rng([self.seed, epoch])
                for shard in range(self.shards):
                    rng.shuffle(order[shard :: self.shards])
            known = self.known = epoch, order
        return known[1]

    def begin_epoch(self):
        """The epoch of an iteration that begins now; the next one is another."""
        epoch, self.epoch = self.epoch, self.epoch + 1
        return epoch

    def pick(self, index, row, batch, epoch):
        """(sample, draw) of a row of a batch: that whose turn it is, or one that shows a class.

        It is of the same shard, and drawn by what is the same in all processes.
        """
        if row < self.first_drawn or self.foreground is None or self.foreground[index]:
            return index, 0
        p, n = self.part
        shard = row % self.shards
        owned = np.arange(p, self.count, n)
        found = np.flatnonzero(self.foreground & (owned % self.shards == shard))
        if not len(found):
            return index, 0
        rng = np.random.default_rng([self.seed, epoch, batch, row])
        return found[rng.integers(len(found))], 1 + batch * self.batch_size + row


def count_shards(count, batch_size):
    """A power of two that divides the batch size and leaves no shard with few samples."""
    shards = math.gcd(MAX_SHARDS, batch_size)
    while shards > 1 and count < shards * MAX_SHARDS:
        shards //= 2
    return shards
