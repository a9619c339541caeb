"""Give PyTorch tensors to Keras variables by name, all or none."""

import re

import numpy as np

from transfuse_keras.layers.upsampling import interpolation_matrix

# the last part of a variable's path -> PyTorch's name for it
LEAVES = [
    (r"/(kernel|gamma)$", "/weight"),
    (r"/(beta)$", "/bias"),
    (r"/moving_mean$", "/running_mean"),
    (r"/moving_variance$", "/running_var"),
]
# token grids that are not square, in the authors' files
GRIDS = {192: (12, 16), 768: (24, 32)}


def torch_name(path, rules):
    """The PyTorch name of a variable: every (pattern, replacement) of `rules` applied in order."""
    for pattern, replacement in rules:
        path = re.sub(pattern, replacement, path)
    return path.replace("/", ".")


def keras_layout(tensor, shape):
    """A PyTorch tensor in Keras' layout: (out, in, h, w) -> (h, w, in, out), a matrix transposed.

    Position embeddings (1, N, D) become the grid (1, rows, columns, D) of `shape`.
    """
    if tensor.ndim == 3 and len(shape) == 4:
        return resize_positions(tensor, shape[1:3])
    axes = {2: (1, 0), 4: (2, 3, 1, 0)}.get(tensor.ndim)
    return tensor if axes is None else tensor.transpose(axes)


def resize_positions(positions, grid):
    """Position embeddings (1, N, D) as (1, *grid, D), resized if they were made for another grid.

    The grid of N tokens is the authors' for 192 and 768, else square, else `grid` itself.
    """
    _, tokens, dim = positions.shape
    side = round(tokens**0.5)
    stored = GRIDS.get(tokens) or ((side, side) if side * side == tokens else tuple(grid))
    if stored[0] * stored[1] != tokens:
        raise ValueError(f"{tokens} position embeddings form no square and do not fit {grid}.")
    positions = positions.reshape(1, *stored, dim)
    rows, columns = (interpolation_matrix(*sizes) for sizes in zip(stored, grid, strict=True))
    return np.einsum("or,pc,brcd->bopd", rows, columns, positions)


def assign(variables, tensors, ignored=()):
    """Load `tensors` into `variables`.

    Args:
        variables: PyTorch name -> Keras variable.
        tensors: PyTorch name -> array in PyTorch's layout.
        ignored: patterns of tensor names that may be present without a variable.

    Raises: ValueError listing every missing, extra and misshapen tensor; then nothing was
    loaded.
    """
    extra = [
        name
        for name in tensors
        if name not in variables and not any(re.search(pattern, name) for pattern in ignored)
    ]
    problems = [f"missing {name}" for name in variables if name not in tensors]
    problems += [f"unexpected {name}" for name in extra]
    values = {}
    for name, variable in variables.items():
        if name in tensors:
            tensor = np.asarray(tensors[name])
            values[name] = keras_layout(tensor, variable.shape)
            if values[name].shape != tuple(variable.shape):
                problems.append(f"{name} has shape {tensor.shape}, which does not fit")
    if problems:
        shown = "; ".join(problems[:20]) + ("; ..." if len(problems) > 20 else "")
        raise ValueError(f"{len(problems)} tensors do not match the model: {shown}.")
    for name, variable in variables.items():
        variable.assign(values[name])
