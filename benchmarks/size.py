"""Parameters and GFLOPs of every variant, as in the README: python benchmarks/size.py"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import tensorflow as tf
from tensorflow.compat.v1 import profiler
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

import transfuse_keras as tk


def parameters(model):
    """Number of trainable parameters."""
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


def gflops(model):
    """Floating-point operations of one image, 2 per multiplication and addition, in 1e9."""
    image = tf.TensorSpec((1, *model.input_shape[1:]))
    function = tf.function(lambda x: model(x, training=False)).get_concrete_function(image)
    graph = convert_variables_to_constants_v2(function).graph
    options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation())
    profile = profiler.profile(graph, options=options.with_empty_output().build())
    return profile.total_float_ops / 1e9


if __name__ == "__main__":
    for name in tk.VARIANTS:
        model = tk.TransFuse(name, (192, 256, 3))
        print(f"{name}: {parameters(model):,} parameters, {gflops(model.mask_model):.1f} GFLOP")
        print(f"    with all three heads {gflops(model):.1f} GFLOP")
