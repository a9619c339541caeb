"""The batches of a training without TensorFlow: threads load them while the model computes."""

import os

import keras


class Batches(keras.utils.PyDataset):
    """The batches of an Order for `model.fit`, the same as those of the tf.data pipeline.

    Args:
        load: function of a batch's number and the epoch that gives its arrays.
        order: Order; its `epoch` is the one that is loaded, and goes on by one at its end.
    """

    def __init__(self, load, order):
        # OpenCV lets go of Python's lock, so threads load side by side
        super().__init__(workers=max(2, os.cpu_count() or 1))
        self.load, self.order = load, order

    def __len__(self):
        return len(self.order)

    def __getitem__(self, k):
        return self.load(k, self.order.epoch)

    def on_epoch_end(self):
        self.order.begin_epoch()
