"""Step time on one and two devices beside the cost model of docs/devices.md.

    python benchmarks/devices.py                one and two logical CPUs of TensorFlow
    python benchmarks/devices.py --loopback     all-reduce between two processes of JAX

Two logical CPUs share the same cores, so that the whole batch takes both the same time to compute;
what two devices add is the exchange: step time = compute + gradient bytes / bandwidth. One and two
devices take turns, and medians are printed.
"""

import argparse
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

SIZE, BATCH = (128, 128), 8


def seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def mirrored(variant, rounds):
    import keras
    import tensorflow as tf

    import transfuse_keras as tk
    from transfuse_keras.devices import all_devices
    from transfuse_keras.training.adam import of_whole_batch

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    images = np.random.default_rng(0).standard_normal((BATCH, *SIZE, 3)).astype("float32")
    data = tf.data.Dataset.from_tensors((images, np.float32(images[..., :1] > 0))).repeat()

    def trainer():
        keras.utils.set_random_seed(0)
        model = tk.TransFuse(variant, (*SIZE, 3))
        model.compile(tk.Adam(1e-4, global_clipnorm=0.5))
        return model, lambda: model.fit(data, steps_per_epoch=3, verbose=0)

    one = trainer()[1]
    with all_devices():
        model, two = trainer()
        count = sum(int(np.prod(x.shape)) for x in model.trainable_variables)
        strategy = tf.distribute.get_strategy()

        @tf.function
        def exchange():
            return strategy.run(lambda: of_whole_batch([tf.ones(count)]))

    runs = {"one": (one, 3), "two": (two, 3), "exchange": (exchange, 1)}
    times = {name: [] for name in runs}
    for number in range(rounds + 1):  # the first round warms up
        for name, (run, steps) in runs.items():
            value = seconds(run) / steps
            if number:
                times[name].append(value)
    one, two, exchange = (median(found) for found in times.values())
    print(f"{variant}, batch {BATCH} of {SIZE[0]}x{SIZE[1]}; gradients {4 * count / 2**20:.1f} MiB")
    print(f"all-reduce of as many bytes {exchange:.3f} s, {4 * count / exchange / 2**30:.2f} GiB/s")
    print(f"step on one device {one:.3f} s, on two {two:.3f} s, predicted {one + exchange:.3f} s")


def loopback(mebibytes=100):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{server.getsockname()[1]}"
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    command = [sys.executable, __file__, "--address", address, "--mebibytes", str(mebibytes)]
    children = [subprocess.Popen([*command, "--index", str(i)], env=environment) for i in (0, 1)]
    sys.exit(max(child.wait() for child in children))


def exchange(address, index, mebibytes):
    import jax
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    from transfuse_keras.devices import is_first
    from transfuse_keras.training.hosts import joined

    with joined(address, 2, index):
        mesh = Mesh(np.array(jax.devices()), ("device",))
        split, same = (NamedSharding(mesh, PartitionSpec(x)) for x in ("device", None))
        rows = np.ones((1, mebibytes * 2**18), "float32")
        parts = jax.make_array_from_process_local_data(split, rows)
        add = jax.jit(lambda x: x.sum(axis=0), out_shardings=same)
        times = [seconds(lambda: add(parts).block_until_ready()) for _ in range(10)]
        if is_first():
            taken = median(times[1:])
            print(f"all-reduce of {mebibytes} MiB between two processes: {taken:.3f} s, ", end="")
            print(f"{mebibytes / 1024 / taken:.2f} GiB/s")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    arguments.add_argument("--variant", default="Ti")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--loopback", action="store_true")
    arguments.add_argument("--mebibytes", type=int, default=100)
    arguments.add_argument("--address", help=argparse.SUPPRESS)
    arguments.add_argument("--index", type=int, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.address:
        exchange(given.address, given.index, given.mebibytes)
    elif given.loopback:
        loopback(given.mebibytes)
    else:
        mirrored(given.variant, given.rounds)
