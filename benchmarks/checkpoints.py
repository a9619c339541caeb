"""What checkpoints cost: CPU seconds to write and to read them.

python benchmarks/checkpoints.py --variant S
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

import transfuse_keras as tk
from transfuse_keras.training import checkpoints


def measure(variant, times=3):
    """Yields (what was done, list of CPU seconds) for a model with the optimiser's moments."""
    model = tk.TransFuse(variant, input_shape=(64, 64, 3))
    model.compile(keras.optimizers.Adam(1e-3))
    model.build_optimizer()
    with tempfile.TemporaryDirectory() as folder:
        saves = checkpoints.SaveCheckpoints(Path(folder), monitor=None)
        saves.set_model(model)
        newest, best = Path(folder) / f"epoch-{times:04}.keras", Path(folder) / checkpoints.BEST
        for name, act in (
            ("write the checkpoint of an epoch, and the best model", saves.on_epoch_end),
            ("go on from a checkpoint", lambda _: checkpoints.restore(model, newest)),
            ("take the best weights", lambda _: checkpoints.take_weights(model, best)),
        ):
            seconds = []
            for k in range(times):
                start = time.process_time()
                act(k)
                seconds.append(time.process_time() - start)
            yield name, seconds


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--variant", default="S", help="default: %(default)s")
    for name, seconds in measure(parser.parse_args().variant):
        print(f"{name}: " + ", ".join(f"{s:.1f}" for s in seconds))
