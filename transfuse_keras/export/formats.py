"""The formats in which a trained model runs without this package."""

from safetensors.numpy import save

from transfuse_keras.errors import InputError
from transfuse_keras.export.budgets import QUANTIZATIONS
from transfuse_keras.export.litert import export_litert, export_web
from transfuse_keras.export.onnx_files import export_onnx, export_onnx_any_size, export_triton
from transfuse_keras.export.saved_model import export_saved_model
from transfuse_keras.export.serving import builtin_resizing, need, serving_function
from transfuse_keras.files import replacing, replacing_with_weights
from transfuse_keras.weights import official_state
from transfuse_keras.weights.official import official_metadata


def export_openvino(model, path, quantize="none"):
    """Write the serving model as OpenVINO's .xml and .bin with a free batch dimension.

    Args:
        model: TransFuse.
        path: of the .xml file.
        quantize: "none", or "float16" for weights of half the size.

    Raises: InputError if openvino is not installed.
    """
    need("openvino", "openvino")
    import openvino

    serve, _ = serving_function(model)
    with builtin_resizing():
        graph = openvino.convert_model(serve.get_concrete_function())
    with replacing_with_weights(path) as temporary:
        openvino.save_model(graph, temporary, compress_to_fp16=quantize == "float16")


def refuse_white_balance(model):
    """Raise InputError for a model with white balance, which the authors' code would leave out."""
    if model.white_balance:
        raise InputError(
            "--format pytorch: the model has white balance, which the authors' code has not; "
            "train with --recipe scratch-v1 for it."
        )


def export_pytorch(model, path):
    """Write the weights as .safetensors under the names, shapes and dtypes of the authors' code.

    A TransFuse-S or L-R50 of their input size (192x256, or 384x512 for their L_384) runs there
    as it is; position embeddings keep the model's own grid, which the file's metadata names.

    Raises: InputError for a model with white balance, which their code would leave out.
    """
    refuse_white_balance(model)
    with replacing(path) as temporary:
        temporary.write_bytes(save(official_state(model), official_metadata(model)))


FORMATS = {  # name -> (function of model and path, file, how it can be quantised)
    "saved_model": (export_saved_model, "saved_model", QUANTIZATIONS["saved_model"]),
    "litert": (export_litert, "model.tflite", QUANTIZATIONS["litert"]),
    "onnx": (export_onnx, "model.onnx", QUANTIZATIONS["onnx"]),
    "onnx-any-size": (
        *(export_onnx_any_size, "model-any-size.onnx", QUANTIZATIONS["onnx-any-size"]),
    ),
    "openvino": (export_openvino, "model.xml", QUANTIZATIONS["openvino"]),
    "web": (export_web, "web", QUANTIZATIONS["web"]),
    "triton": (export_triton, "triton", QUANTIZATIONS["triton"]),
    "pytorch": (export_pytorch, "model.safetensors", QUANTIZATIONS["pytorch"]),
}
