"""Give PyTorch tensors to Keras variables by name, all or none, and back."""

import logging
import re
from pathlib import Path

import numpy as np

from transfuse_keras.errors import quantity
from transfuse_keras.layers.upsampling import interpolation_matrix

log = logging.getLogger(__name__)


# the last part of a variable's path -> PyTorch's name for it
LEAVES = [
    (r"/(kernel|gamma)$", "/weight"),
    (r"/(beta)$", "/bias"),
    (r"/moving_mean$", "/running_mean"),
    (r"/moving_variance$", "/running_var"),
]
# (rows, columns) of so many position embeddings in the authors' files, where they are no square
GRIDS = {192: (12, 16), 768: (24, 32)}
# a swap of the first two axes with the last two, from PyTorch to Keras and back
DEPTHWISE = (2, 3, 0, 1)


def torch_name(path, rules):
    """The PyTorch name of a variable: every (pattern, replacement) of `rules` applied in order."""
    for pattern, replacement in rules:
        path = re.sub(pattern, replacement, path)
    return path.replace("/", ".")


def keras_layout(tensor, shape, position_grid=None, context=0):
    """A PyTorch tensor in Keras' layout: (out, in, h, w) -> (h, w, in, out), a matrix transposed.

    A depthwise convolution is (channels, 1, h, w) there and (h, w, channels, 1) here.
    Position embeddings (1, N, D) become the grid (1, rows, columns, D) of `shape`, and a
    convolution over RGB is adapted where `shape` has another number of input channels; `context`
    as of `adapt_stem`.
    """
    if tensor.ndim == 3 and len(shape) == 4 and tensor.shape[::2] == (shape[0], shape[3]):
        return resize_positions(tensor, shape[1:3], position_grid)
    if is_adapted(tensor, shape, context):
        tensor = adapt_stem(tensor, shape[2], context)
    axes = {2: (1, 0), 4: (2, 3, 1, 0)}.get(tensor.ndim)
    if tensor.ndim == len(shape) == 4 and tensor.shape[:2] == (shape[2], 1) and shape[3] == 1:
        axes = DEPTHWISE
    return tensor if axes is None else tensor.transpose(axes)


def torch_layout(name, value):
    """The inverse of `keras_layout`: a variable's value as the PyTorch tensor called `name`."""
    if name.endswith("pos_embed"):
        return value.reshape(1, -1, value.shape[-1])
    axes = {2: (1, 0), 4: (3, 2, 0, 1)}.get(value.ndim)
    if name.endswith("conv_dw.weight"):
        axes = DEPTHWISE
    return value if axes is None else np.ascontiguousarray(value.transpose(axes))


def is_adapted(tensor, shape, context=0):
    """Whether a convolution over RGB, or over one slice, is to become one over other channels."""
    if tensor.ndim != 4 or len(shape) != 4 or tensor.shape[0] != shape[3]:
        return False
    alone = shape[2] // (2 * context + 1)
    return tensor.shape[1] != shape[2] and tensor.shape[1] in (3, alone)


def adapt_stem(weight, channels, context=0):
    """A convolution over RGB (out, 3, h, w) as one over `channels` channels.

    One channel: the sum over RGB, so a grey image gives what it gave as RGB. More: R, G, B
    repeated in turn and scaled by 3 / channels, so responses keep their size. It is timm's habit
    (`adapt_input_conv`).

    With the `context` of a task, `channels` are those of 2 * context + 1 slices: the convolution
    becomes one over a slice, if it is none, and is inflated: repeated for all slices and divided
    by their number, so that equal slices give what one gave.
    """
    if context:
        slices = 2 * context + 1
        if weight.shape[1] != channels // slices:
            weight = adapt_stem(weight, channels // slices)
        return np.tile(weight, (1, slices, 1, 1)) / np.float32(slices)
    if channels == 1:
        return weight.sum(axis=1, keepdims=True)
    return weight[:, np.arange(channels) % 3] * (3 / channels)


def find_grid(tokens, own, stored=None):
    """(rows, columns) that so many position embeddings were made for.

    Args:
        tokens: number of embeddings.
        own: grid of the model that they are loaded into; it is taken where it has that number.
        stored: the grid where it is known: then nothing is guessed.

    Raises: ValueError if `stored` has another number, or if no grid can be told.
    """
    if stored is None:
        stored = tuple(own) if own[0] * own[1] == tokens else usual_grid(tokens)
    if stored is None or stored[0] * stored[1] != tokens:
        raise ValueError(
            f"{tokens} position embeddings are no grid of {'x'.join(map(str, stored or own))}; "
            "give the rows and columns they were made for as position_grid."
        )
    return tuple(stored)


def usual_grid(tokens):
    """The grid of the authors' models, or the square, of so many embeddings; None without one."""
    side = round(tokens**0.5)
    return GRIDS.get(tokens, (side, side) if side * side == tokens else None)


def resize_positions(positions, grid, stored=None):
    """Position embeddings (1, N, D) as (1, *grid, D), resized if they were made for another grid.

    `stored` is that grid where it is known, see `find_grid`.
    """
    _, tokens, dim = positions.shape
    stored = find_grid(tokens, grid, stored)
    positions = positions.reshape(1, *stored, dim)
    rows, columns = (interpolation_matrix(*sizes) for sizes in zip(stored, grid, strict=True))
    return np.einsum("or,pc,brcd->bopd", rows, columns, positions, optimize=True)


def describe_resizing(name, tokens, own, stored):
    """A sentence where position embeddings were resized or two grids were possible, else None."""
    (rows, columns), found = own, find_grid(tokens, own, stored)
    if found != tuple(own):
        return f"{name}: resized from {found[0]}x{found[1]} to {rows}x{columns} positions."
    if stored is None and (other := usual_grid(tokens)) not in (None, found):
        return (
            f"{name}: {tokens} positions, taken for the model's own grid of {rows}x{columns}, not "
            f"for {other[0]}x{other[1]}; position_grid decides it."
        )
    return None


def describe_adapting(name, tensor, channels, context):
    """A sentence on what `adapt_stem` did."""
    slices = f", inflated to {2 * context + 1} slices" if context else ""
    made_for = "RGB" if tensor.shape[1] == 3 else quantity(tensor.shape[1], "channel")
    return f"{name}: made for {made_for}, adapted to {quantity(channels, 'channel')}{slices}."


def assign(variables, tensors, ignored=(), source=None, position_grid=None, context=0):
    """Load `tensors` into `variables`; says which of them were adapted or resized.

    Args:
        variables: PyTorch name -> Keras variable.
        tensors: PyTorch name -> array in PyTorch's layout.
        ignored: patterns of tensor names that may be present without a variable.
        source: where the tensors are from, for the error: a path, or anything else.
        position_grid: (rows, columns) of the stored position embeddings, where it is known.
        context: as of `adapt_stem`.

    Raises: ValueError listing every missing, extra, misshapen and undefined tensor; then nothing
    was loaded.
    """
    extra = [
        name
        for name in tensors
        if name not in variables and not any(re.search(pattern, name) for pattern in ignored)
    ]
    problems = [f"missing {name}" for name in variables if name not in tensors]
    problems += [f"unexpected {name}" for name in extra]
    values, adapted = {}, []
    for name, variable in variables.items():
        if name in tensors:
            tensor = np.asarray(tensors[name])
            try:
                values[name] = keras_layout(tensor, variable.shape, position_grid, context)
            except ValueError as error:
                raise ValueError(f"{name_source(source)}{name}: {error}") from error
            if values[name].shape != tuple(variable.shape):
                problems.append(f"{name} has shape {tensor.shape}, which does not fit")
            elif not np.isfinite(values[name]).all():
                problems.append(f"{name} holds undefined values (nan or infinite)")
            elif is_adapted(tensor, variable.shape, context):
                adapted.append(describe_adapting(name, tensor, variable.shape[2], context))
            elif name.endswith("pos_embed"):
                own = tuple(variable.shape[1:3])
                adapted.append(describe_resizing(name, tensor.shape[1], own, position_grid))
    if problems:
        shown = "; ".join(problems[:20]) + ("; ..." if len(problems) > 20 else "")
        raise ValueError(
            f"{name_source(source)}{quantity(len(problems), 'tensor')} cannot be loaded: {shown}."
        )
    for name, variable in variables.items():
        variable.assign(values[name])
    for line in filter(None, adapted):
        log.info(line)


def name_source(source):
    """The beginning of an error: the file at fault, or nothing if there is none."""
    return f"{source}: " if isinstance(source, (str, Path)) else ""
