"""Run by test_pipeline.py with JAX or PyTorch: the epochs that the batches of `model.fit` are of.

python tests/data/epochs_probe.py prints, in JSON, for a training from epoch 0 and for one that goes
on at epoch 2, the mean epoch of the batches of each of three epochs.
"""

import json

import keras
import numpy as np

from transfuse_keras.data.batches import Batches
from transfuse_keras.data.order import Order
from transfuse_keras.training.callbacks import BeginEpoch


def load(batch, epoch):
    return np.full((4, 1), epoch, "float32"), np.zeros((4, 1), "float32")


def epochs_seen(begin, callbacks):
    """The loss of a model that gives its input back is the mean of what it was given."""
    order = Order(24, 4, 0)
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(1, kernel_initializer="ones")(inputs))
    model.compile(keras.optimizers.SGD(0.0), loss=lambda y, maps: keras.ops.mean(maps))
    options = {"initial_epoch": begin, "epochs": begin + 3, "shuffle": False, "verbose": 0}
    history = model.fit(Batches(load, order), callbacks=callbacks(order), **options)
    return history.history["loss"]


if __name__ == "__main__":
    found = [
        epochs_seen(0, lambda order: []),
        epochs_seen(0, lambda order: [BeginEpoch(order)]),
        epochs_seen(2, lambda order: [BeginEpoch(order)]),
    ]
    print(json.dumps(found))
