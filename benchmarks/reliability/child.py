"""The command line with the smallest variants, as a process that can be killed.

    python -m benchmarks.reliability.child [nan=EPOCH] ARGUMENTS OF transfuse

With nan=EPOCH, counted from 1, a weight becomes nan when that epoch begins.
"""

import sys
from contextlib import contextmanager
from unittest.mock import patch

from transfuse_keras.cli import main
from transfuse_keras.model.variants import VARIANTS, Variant
from transfuse_keras.training.callbacks import BeginEpoch

SMALLEST = Variant("resnet18", "deit_tiny_patch16_224", 1, (16, 8, 8))
SMALLEST_UNET = Variant("resnet18", None, 0, (16, 8, 8), skips=True)


@contextmanager
def poisoned(target):
    """Make a weight nan when the epoch `target` begins, within this context."""
    begin = BeginEpoch.on_epoch_begin

    def on_epoch_begin(self, epoch, logs=None):
        begin(self, epoch, logs)
        if epoch + 1 == target:
            weight = self.model.trainable_variables[0]
            weight.assign(weight * float("nan"))

    with patch.object(BeginEpoch, "on_epoch_begin", on_epoch_begin):
        yield


def run(arguments):
    """The command line with the variants smallest and smallest-unet. Returns: its exit code."""
    arguments = list(map(str, arguments))
    with patch.dict(VARIANTS, {"smallest": SMALLEST, "smallest-unet": SMALLEST_UNET}):
        if not arguments[0].startswith("nan="):
            return main(arguments)
        with poisoned(int(arguments[0].removeprefix("nan="))):
            return main(arguments[1:])


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
