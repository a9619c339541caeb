"""What the layers of a model were set to after it was built, for its file."""

import keras


def describe_layers(model):
    """Which layers of a keras.Model are frozen, and which Keras has quantised, as plain data.

    Returns: {"frozen": paths, "quantized": {path: (mode, its configuration)}}, less what is empty.
    """
    layers = [x for x in model._flatten_layers() if x.path]
    frozen = [x.path for x in layers if not x.trainable]
    quantized = {
        x.path: (x.quantization_mode, keras.saving.serialize_keras_object(x.quantization_config))
        for x in layers
        if getattr(x, "quantization_mode", None)
    }
    kept = {"frozen": frozen, "quantized": quantized}
    return {name: value for name, value in kept.items() if value}


def restore_layers(model, frozen=(), quantized=None):
    """Set the layers of a model that was built anew to what `describe_layers` found."""
    frozen, quantized = set(frozen), quantized or {}
    for layer in model._flatten_layers():
        if layer.path in frozen:
            layer.trainable = False
        if layer.path in quantized:
            mode, how = quantized[layer.path]
            layer.quantize(mode, config=keras.saving.deserialize_keras_object(how))
