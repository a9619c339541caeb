"""Patch embedding with a learnable grid of position embeddings (paper, Transformer Branch)."""

import keras
from keras import layers, ops

from transfuse_keras.layers.upsampling import resize_bilinear


@keras.saving.register_keras_serializable("transfuse_keras")
class PatchEmbedding(layers.Layer):
    """Project non-overlapping patches to tokens and add their position embeddings.

    The positions are stored for one token grid. At another input size they are resized inside
    the graph (bilinear, align_corners, as the authors resize them), so one variable serves and
    learns from every size. There is no class token.

    Args:
        dim: width of a token, D_0 in the paper.
        patch_size: side of a patch in pixels, S in the paper.
        position_grid: (rows, columns) of the stored positions; by default the grid of the
            input that the layer is built with.

    Call: (B, H, W, C) -> (B, H / patch_size * W / patch_size, dim), tokens in row-major order.
    """

    def __init__(self, dim, patch_size=16, position_grid=None, **kwargs):
        super().__init__(**kwargs)
        self.patch_size = patch_size
        self.position_grid = position_grid
        self.proj = layers.Conv2D(
            dim,
            patch_size,
            strides=patch_size,
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            name="proj",
        )

    def build(self, input_shape):
        self.proj.build(input_shape)
        _, height, width, _ = input_shape
        rows, columns = self.position_grid or (height // self.patch_size, width // self.patch_size)
        self.positions = self.add_weight(
            shape=(1, rows, columns, self.proj.filters),
            initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            name="positions",
        )

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        size = self.patch_size
        return batch, (height // size) * (width // size), self.proj.filters

    def call(self, x):
        _, height, width, channels = x.shape
        size, dim = self.patch_size, self.proj.filters
        rows, columns = height // size, width // size
        # One matrix product: convolution kernels pad so few channels to whole registers.
        x = ops.reshape(x, (-1, rows, size, columns, size * channels))
        x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4)), (-1, rows * columns, size**2 * channels))
        x = ops.matmul(x, ops.reshape(self.proj.kernel, (-1, dim))) + self.proj.bias
        positions = resize_bilinear(ops.convert_to_tensor(self.positions), (rows, columns))
        return x + ops.reshape(positions, (1, rows * columns, dim))
