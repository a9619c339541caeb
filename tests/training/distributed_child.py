"""The command line with the smallest variant and at dropout 0.

python tests/training/distributed_child.py LOGICAL_CPUS ARGUMENTS

Dropout alone differs between one device and several.
"""

import sys
from dataclasses import replace

import keras

from benchmarks.reliability.child import run
from transfuse_keras.tasks import TASKS

if __name__ == "__main__":
    count, *arguments = sys.argv[1:]
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        (cpu,) = tf.config.list_physical_devices("CPU")
        parts = [tf.config.LogicalDeviceConfiguration() for _ in range(int(count))]
        tf.config.set_logical_device_configuration(cpu, parts)
    hip = TASKS["hip"]
    TASKS["hip"] = replace(hip, phantom_recipe=replace(hip.phantom_recipe, dropout=0.0))
    sys.exit(run(arguments))
