"""Plain data on exported files: how each format can be quantised and how close it must stay."""

from transfuse_keras.errors import Failure

# format -> how its weights can be stored
QUANTIZATIONS = {
    "saved_model": ("none",),
    "litert": ("none", "float16", "dynamic", "int8"),
    "onnx": ("none",),
    "onnx-any-size": ("none",),
    "openvino": ("none", "float16"),
    "web": ("none", "float16", "dynamic", "int8"),  # a page with a LiteRT file
    "triton": ("none",),  # a model repository with an ONNX file
    "pytorch": ("none",),
}

# backend of Keras -> the formats that every run gets by it
OF_RUNS = {"tensorflow": ("saved_model", "litert"), "torch": ("onnx",)}
BY_TORCH = ("onnx", "triton", "pytorch")  # what the PyTorch backend can write

# quantize -> (key of what `verify` gives, what it may be): the budget of an exported file
BUDGETS = {
    "none": ("largest_difference", "at most", 1e-4),
    "float16": ("mask_dice", "at least", 0.999),
    "dynamic": ("dice_lost", "at most", 0.005),
    "int8": ("dice_lost", "at most", 0.005),
}


class OverBudget(Failure):
    """An exported model that differs more from the Keras model than its format may."""
