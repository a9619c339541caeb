"""Run by test_streaming.py: the metrics under MirroredStrategy on two logical CPUs.

python tests/metrics/replica_probe.py IN.npz prints, as JSON, what `evaluate` and direct updates
on the replicas give for the truth, logits and weights of IN.npz.
"""

import json
import sys

import keras
import numpy as np
import tensorflow as tf

from transfuse_keras.metrics import DiceScore, IoUScore

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2

arrays = np.load(sys.argv[1])
truth, logits, weights = (arrays[name] for name in ("truth", "logits", "weights"))
classes = truth.shape[-1]

with strategy.scope():
    model = keras.Sequential([keras.Input(logits.shape[1:]), keras.layers.Activation("linear")])
    model.compile(
        loss=lambda truth, logits: keras.ops.mean(logits, axis=(1, 2, 3)),  # Keras insists on one
        weighted_metrics=[DiceScore(classes), IoUScore(classes)],
    )
    direct = DiceScore(classes), IoUScore(classes)

evaluated = model.evaluate(logits, truth, 4, sample_weight=weights, verbose=0, return_dict=True)


@tf.function
def update(*batch):
    for metric in direct:
        strategy.run(metric.update_state, batch)


for batch in strategy.experimental_distribute_dataset(
    tf.data.Dataset.from_tensor_slices((truth, logits, weights)).batch(4)
):
    update(*batch)
print(json.dumps([[float(metric.result()) for metric in direct], evaluated]))
