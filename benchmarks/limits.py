"""How near a training step on the CPU is to what the processor can do.

    python benchmarks/limits.py
    python benchmarks/limits.py --variant Ti --image-size 128 128
    python benchmarks/limits.py --precision mixed_bfloat16
    KERAS_BACKEND=jax python benchmarks/limits.py

One thread on TensorFlow and PyTorch. Prints the speed of a large matrix product in the precision
of the convolutions, the most that the processor was seen to do; the seconds that the arithmetic of
a step (three times that of the forward pass) takes at that speed; and the CPU seconds of the median
step. Where Linux' `perf` is installed, a profile of some steps follows: whose code the time is
spent in.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.training_step import create_parser
from transfuse_keras.runs.processor import describe_processor, prefer_onednn
from transfuse_keras.runs.settings import PRECISIONS

THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
SIDE = 2048  # of the matrices
ONEDNN = "oneDNN: convolutions and matrix products"
# of what is compiled while it runs
COMPILED = {"tensorflow": ONEDNN, "torch": ONEDNN, "jax": "XLA: what it compiled itself"}
# a line of `perf report` by library and symbol -> whose code it is; the first that fits
OWNERS = {
    "dnnl": ONEDNN,
    "ynn": "YNNPACK in XLA: convolutions and matrix products",
    "Eigen": "Eigen: other arithmetic",
    "kernel|memmove|memset|libc": "system: memory",
    "": "the rest",
}


def cpu_seconds(run, rounds):
    """CPU seconds of each of some calls."""
    for _ in range(rounds):
        start = time.process_time()
        run()
        yield time.process_time() - start


@contextmanager
def profiled(owners):
    """Yields a Counter that at the end has the samples of this process by their owner."""
    samples = Counter()
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/perf.data"
        command = ["perf", "record", "-e", "cpu-clock", "-F", "500", "-o", file]
        with subprocess.Popen(
            [*command, "-p", str(os.getpid())], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as recorder:
            time.sleep(1)  # until it records
            yield samples
            recorder.send_signal(signal.SIGINT)
        report = ["perf", "report", "-n", "-i", file, "--stdio", "--sort", "dso,sym"]
        lines = subprocess.run(report, capture_output=True, encoding="utf-8", check=True).stdout
    for line in lines.splitlines():
        if match := re.match(r"\s+[\d.]+%\s+(\d+)\s+(.*)", line):
            owner = next(name for key, name in owners.items() if re.search(key, match[2]))
            samples[owner] += int(match[1])


def main():
    parser = create_parser(__doc__, steps=6)
    parser.add_argument("--precision", default="float32", choices=PRECISIONS)
    arguments = parser.parse_args()

    os.environ.update(dict.fromkeys(THREADS, "1"))
    prefer_onednn()
    import keras
    import numpy as np

    import transfuse_keras as tk
    from transfuse_keras.model.flops import count_flops

    keras.config.set_dtype_policy(arguments.precision)
    model = tk.TransFuse(arguments.variant, (*arguments.image_size, 3))
    model.compile(tk.Adam(1e-4))
    rng = np.random.default_rng(0)
    images = rng.random((arguments.batch_size, *arguments.image_size, 3), "float32")
    masks = (images[..., :1] > 0.5).astype("float32")
    dtype = keras.config.dtype_policy().compute_dtype
    matrix = keras.ops.cast(rng.random((SIDE, SIDE), "float32"), dtype)

    def multiply():
        keras.ops.convert_to_numpy(keras.ops.matmul(matrix, matrix))

    def step():
        model.train_on_batch(images, masks)

    multiply(), step(), step()  # the first ones prepare
    peak = 2 * SIDE**3 / min(cpu_seconds(multiply, 2 * arguments.steps))
    least = 3 * arguments.batch_size * count_flops(model) / peak
    taken = median(cpu_seconds(step, arguments.steps))
    print(describe_processor())
    print(f"{peak / 1e9:.0f} GFLOP/s at most; a step needs {least:.2f} s of it, and took ", end="")
    print(f"{taken:.2f} CPU-s: {100 * least / taken:.0f} %")
    if shutil.which("perf"):
        with profiled({r"\[JIT\]": COMPILED[keras.backend.backend()], **OWNERS}) as samples:
            for _ in range(arguments.steps):
                step()
        for owner, count in samples.most_common():
            print(f"{100 * count / samples.total():5.1f} % {owner}")


if __name__ == "__main__":
    main()
