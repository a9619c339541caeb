"""Run by test_devices.py: trains the smallest model on some devices and writes what came out.

python tests/distribution_probe.py JOB OUT.npz with JOB, in JSON: "devices" and, for several
processes on JAX, "port", "count", "index", which TF_CONFIG and torchrun tell those on the others;
"for_ever": train until killed; "join" and "lost": seconds; "trainings": {name: {"alone": on one
device; "scales" of compile; "stop": save after every epoch and go on in a new model}}. OUT.npz:
clipped, and of each training, by its name: start/<n> and end/<n>, the weights and the optimiser's
state; logs/<epoch>/<name>.
"""

import json
import sys
import time
from contextlib import nullcontext

import keras
import numpy as np
from conftest import SMALLEST

from transfuse_keras import TransFuse, devices
from transfuse_keras.metrics import DiceScore, IoUScore
from transfuse_keras.training import hosts
from transfuse_keras.training.adam import Adam

BATCH, STEPS, EPOCHS = 4, 2, 2


def samples():
    """Images, masks and weights, which are 0 for the rows that fill up the last batch."""
    rng = np.random.default_rng(0)
    dtype = keras.config.floatx()
    images = rng.standard_normal((STEPS * BATCH, 32, 48, 3)).astype(dtype)
    masks = np.zeros((STEPS * BATCH, 32, 48, 1), dtype)
    for i, mask in enumerate(masks):
        mask[4 + i : 16 + i, 5 : 20 + 2 * i] = 1
    return images, masks, np.array([1] * 5 + [0] * 3, dtype)


class Share(keras.utils.PyDataset):
    """The rows of each batch that are those of this process, in batches."""

    def __init__(self, arrays, count, index):
        super().__init__()
        self.own = [x.reshape(STEPS, BATCH, *x.shape[1:])[:, index::count] for x in arrays]

    def __len__(self):
        return STEPS

    def __getitem__(self, step):
        return tuple(array[step] for array in self.own)


def build(scales):
    keras.utils.set_random_seed(0)
    model = TransFuse(SMALLEST, (32, 48, 3), dropout=0.0)
    # With so large an epsilon Adam does not blow up the rounding errors of small gradients
    adam = Adam(0.01, epsilon=0.01, global_clipnorm=0.5)
    scores = {"mask": [DiceScore(name="dice"), IoUScore(name="iou")]}
    model.compile(adam, weighted_metrics=scores, scales=scales)
    return model


def weights(model, when):
    variables = model.weights + model.optimizer.variables
    arrays = (np.array(variable.numpy()) for variable in variables)
    return {f"{when}/{i}": array for i, array in enumerate(arrays)}


def train(count=1, index=0, scales=None, stop=False):
    """Start and end of a training that is stopped after an epoch, saved, and resumed."""
    images, masks, valid = samples()
    training, validation = (
        Share(arrays, count, index) for arrays in ((images, masks), (images, masks, valid))
    )
    logs, path = {}, sys.argv[2] + ".keras"
    for epoch in range(EPOCHS):
        if epoch == 0 or stop:
            model = build(scales)
            model.optimizer.build(model.trainable_variables)
        if epoch == 0:
            logs |= weights(model, "start")
        elif stop:
            model.load_weights(path)
        history = model.fit(
            training,
            validation_data=validation,
            initial_epoch=epoch,
            epochs=epoch + 1,
            shuffle=False,  # each process would in its own way
            verbose=0,
        )
        logs |= {f"logs/{epoch}/{name}": value[0] for name, value in history.history.items()}
        if stop:
            model.save(path)
    return logs | weights(model, "end")


class Progress(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        print(f"step {batch}", flush=True)
        time.sleep(0.05)


def train_for_ever(count, index, **_):
    """A small network, which is enough to be killed."""
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    rows = np.ones((4 // count, 8), "float32")
    data = tf.data.Dataset.from_tensors((rows, rows[:, :1])).repeat()
    model.fit(data, steps_per_epoch=10**6, verbose=0, callbacks=[Progress()])


def clipped():
    """What Adam adds to two zeros if each of two replicas has the gradient of one of them."""
    import tensorflow as tf

    adam = Adam(1.0, epsilon=1.0, global_clipnorm=1.0)
    variable = keras.Variable(np.zeros(2), dtype="float32")
    adam.build([variable])

    def step():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        adam.apply([tf.constant([[3.0, 0.0], [0.0, 4.0]])[replica]], [variable])

    tf.function(lambda: tf.distribute.get_strategy().run(step))()
    return variable.numpy()


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    mirrored = keras.backend.backend() == "tensorflow"
    if mirrored:
        import tensorflow as tf

        keras.config.set_floatx("float64")  # or this network amplifies how sums are rounded
        cpu = tf.config.list_physical_devices("CPU")[0]
        logical = [tf.config.LogicalDeviceConfiguration()] * job["devices"]
        tf.config.set_logical_device_configuration(cpu, logical)
    hosts.JOIN_SECONDS = job.get("join", 300)
    hosts.SILENT_SECONDS = job.get("lost", 60)
    place = {"count": job.get("count", 1), "index": job.get("index", 0)}
    address = f"127.0.0.1:{job.get('port')}"
    if started := hosts.find_job():
        _, _, place["count"], place["index"] = started
        address = None
    out = {}
    with hosts.joined(address, **place) if started or "port" in job else nullcontext():
        if job.get("for_ever"):
            with devices.all_devices():
                train_for_ever(**place)
        for name, options in job["trainings"].items():
            if options.pop("alone", False):
                found = train(**options)
            else:
                with devices.all_devices():
                    found = train(**place, **options)
            out |= {f"{name}/{key}": array for key, array in found.items()}
        with devices.all_devices():
            assert devices.replicas() == job["devices"] * place["count"]
            if mirrored and not started:
                out |= {"clipped": clipped()}
        first = devices.is_first()
    if first:
        np.savez(sys.argv[2], **out)
