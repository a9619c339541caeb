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


if __name__ == "__main__":
    for name in tk.VARIANTS:
        model = tk.TransFuse(name, (192, 256, 3))
        gflop = count_flops(model.mask_model) / 1e9
        print(f"{name}: {parameters(model):,} parameters, {gflop:.1f} GFLOP")
