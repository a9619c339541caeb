"""The serving model as an ONNX file by PyTorch's exporter, where TensorFlow is not installed."""

import logging
import warnings
from contextlib import contextmanager

import keras


def write_onnx_by_torch(serving, path):
    """Write a model of the PyTorch backend as a float32 .onnx file with a free batch dimension.

    Its input is `image`, its output `probabilities`, the free axis of both `batch`. Not by Keras'
    own export: that traces, which makes tensors of the static shapes that our layers compute with.

    Args:
        serving: keras.Model, as of `serving_model`.
        path: of the file.
    """
    import torch

    # two images: an axis of length one would be taken for fixed
    image = keras.ops.zeros((2, *serving.input_shape[1:]), "float32")
    with silent_exporter():
        torch.onnx.export(
            serving.eval(),
            (image,),
            path,
            input_names=["image"],
            output_names=["probabilities"],
            dynamic_shapes=(({0: torch.export.Dim("batch")},),),  # of *args
            dynamo=True,
            external_data=False,  # weights inside the file
            verbose=False,
        )


@contextmanager
def silent_exporter():
    """Within this context the exporter does not tell which libraries it could export besides."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
