"""The command line with the smallest variant, as a process that can be killed.

    python -m benchmarks.reliability.child [nan=EPOCH] ARGUMENTS OF transfuse

With nan=EPOCH, counted from 1, a weight becomes nan when that epoch begins.
"""

import sys

from transfuse_keras.cli import main
from transfuse_keras.model.variants import VARIANTS, Variant
from transfuse_keras.training.callbacks import BeginEpoch

SMALLEST = Variant("resnet18", "deit_tiny_patch16_224", 1, (16, 8, 8))


def poison(target):
    """Make a weight nan when the epoch `target` begins."""
    begin = BeginEpoch.on_epoch_begin

    def on_epoch_begin(self, epoch, logs=None):
        begin(self, epoch, logs)
        if epoch + 1 == target:
            weight = self.model.trainable_variables[0]
            weight.assign(weight * float("nan"))

    BeginEpoch.on_epoch_begin = on_epoch_begin


if __name__ == "__main__":
    VARIANTS["smallest"] = SMALLEST
    first, *rest = arguments = sys.argv[1:]
    if first.startswith("nan="):
        poison(int(first.removeprefix("nan=")))
        arguments = rest
    sys.exit(main(arguments))
