"""The batches of a training without TensorFlow: threads load them while the model computes."""

import os
from concurrent.futures import ThreadPoolExecutor

import keras

AHEAD = 8  # batches that are loaded, or being loaded, before they are asked for


class Batches(keras.utils.PyDataset):
    """The batches of an Order for `model.fit`, the same as those of the tf.data pipeline.

    Keras' own threads (`workers`) load batches of an epoch before it begins, when `order.epoch` is
    still that of the one before. So the threads are ours, and what they load has its epoch.

    Args:
        load: function of a batch's number and the epoch that gives its arrays.
        order: Order; its `epoch` is the one that is loaded, and goes on by one at its end.
    """

    def __init__(self, load, order):
        super().__init__()
        self.load, self.order, self.loading, self.complete = load, order, {}, False
        # OpenCV lets go of Python's lock, so threads load side by side
        self.threads = ThreadPoolExecutor(max(2, os.cpu_count() or 1))

    def __len__(self):
        return len(self.order)

    def __getitem__(self, k):
        epoch = self.order.epoch
        wanted = [(i, epoch) for i in range(k, min(k + AHEAD, len(self)))]
        known = self.loading
        self.loading = {x: known.get(x) or self.threads.submit(self.load, *x) for x in wanted}
        self.complete = k == len(self) - 1
        return self.loading[k, epoch].result()

    def __iter__(self):
        """An epoch, for a loop of one's own; the next one is another, as of tf.data."""
        for k in range(len(self)):
            yield self[k]
        self.on_epoch_end()

    def on_epoch_end(self):
        """Keras calls this once more after it has looked at the first batch to build a model."""
        if self.complete:
            self.order.begin_epoch()
            self.complete = False
