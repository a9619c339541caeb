"""Parameters and GFLOPs of every variant, as in the README: python benchmarks/size.py"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

import transfuse_keras as tk
from transfuse_keras.model.flops import count_flops


def parameters(model):
    """Number of trainable parameters."""
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


def describe_size(name):
    """(trainable parameters, GFLOP) of a variant, as the README writes them."""
    model = tk.TransFuse(name, (192, 256, 3))
    return f"{parameters(model):,}", f"{count_flops(model.mask_model) / 1e9:.1f}"


if __name__ == "__main__":
    for name in tk.VARIANTS:
        count, gflop = describe_size(name)
        print(f"{name}: {count} parameters, {gflop} GFLOP")
