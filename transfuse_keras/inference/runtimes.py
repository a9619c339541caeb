"""What runs model files, and as a script a model in a process of its own, timed on request.

Importing the package would bring TensorFlow into every process, and its threads and memory would
be measured with those of the runtime, so nothing of it is imported here before it is needed.

    python -P runtimes.py '{"kind": "litert", "path": "model.tflite", "threads": 2}'

answers on standard output, a line of JSON each: first {"shape": of the images, "load_seconds"},
then {"seconds": of one run, "memory": in bytes} to every line of standard input, or once {"error"}.
"""

import importlib
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

MATRIX = 2048  # rows and columns of the matrices that measure what the machine can do
STATUS = Path("/proc/self/status")


def keras(path, threads, size=None):
    """What `transfuse predict` runs; `size`: (height, width) instead of the model's own."""
    limit_tensorflow(threads)
    from transfuse_keras.model.load import load_model

    model = load_model(path)
    if size is not None and tuple(size) != model.input_shape[1:3]:
        model = model.resized(size)
    return model.input_shape[1:], probabilities_by(model)


def probabilities_by(model):
    """The function from images (B, H, W, C) in 0-255 to probabilities (B, H, W, M) of a
    TransFuse; a float32 model computes in float32 on a GPU too, not in TF32."""
    from scipy.special import expit

    from transfuse_keras.data.normalization import normalizer
    from transfuse_keras.devices import exact_products

    def run(images):
        normalize = normalizer(model.normalization, images.dtype)
        inputs = np.stack([normalize(image) for image in images])
        with exact_products():
            if model.mask_model.predict_function is None:
                trace_for_any_batch(model.mask_model)
            return expit(np.asarray(model.mask_model.predict_on_batch(inputs)))

    return run


def trace_for_any_batch(model):
    """Trace the prediction of a Keras model for any number of images. Otherwise TensorFlow traces
    it twice: for the first batch, then for one of another size, as the last one is."""
    import keras

    if keras.backend.backend() != "tensorflow" or model.jit_compile:
        return
    import tensorflow as tf

    model.make_predict_function()
    images = tf.TensorSpec((None, *model.input_shape[1:]), "float32")
    model.predict_function.get_concrete_function([(images,)])


def saved_model(path, threads=None):
    tf = limit_tensorflow(threads)
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    (image,) = serve.structured_input_signature[1].values()
    return image.shape[1:], lambda x: next(iter(serve(tf.constant(x)).values())).numpy()


def litert(path, threads=None):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=threads or os.cpu_count())
    interpreter.allocate_tensors()
    (image,), (maps,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(x):
        interpreter.set_tensor(image["index"], x)
        interpreter.invoke()
        return interpreter.get_tensor(maps["index"])

    return image["shape"][1:], run


def onnx(path, threads=None):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0  # 0: one for each core
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    if image.type == "tensor(uint8)":  # of any size: it is given images of the model's own
        about = json.loads(session.get_modelmeta().custom_metadata_map["transfuse"])["input"]
        shape = [*about["size"], about["channels"]]
        return shape, lambda x: session.run(
            ["probabilities"], {image.name: np.rint(x).astype("uint8")}
        )[0]
    return image.shape[1:], lambda x: session.run(None, {image.name: x})[0]


def openvino(path, threads=None, precision="f32"):
    """One image at a time; `precision` is "f32", "bf16", or None for OpenVINO's own choice, which
    is bf16 on a CPU that has it."""
    from openvino import Core

    core = Core()
    graph = core.read_model(str(path))
    shape = [axis.get_length() for axis in list(graph.input(0).partial_shape)[1:]]
    graph.reshape([1, *shape])  # a free batch would be slower
    settings = {"PERFORMANCE_HINT": "LATENCY"}
    settings |= {"INFERENCE_PRECISION_HINT": precision} if precision else {}
    settings |= {"INFERENCE_NUM_THREADS": threads} if threads else {}
    request = core.compile_model(graph, "CPU", settings).create_infer_request()
    return shape, lambda x: request.infer([x])[0].copy()


def matmul(path, threads):
    """The product of two float32 matrices, which no layer exceeds in float32; reads no file."""
    tf = limit_tensorflow(threads)
    return (MATRIX, MATRIX), lambda x: tf.matmul(x[0], x[0]).numpy()


def limit_tensorflow(threads):
    """TensorFlow, with so many threads if a number is given."""
    import tensorflow as tf

    if threads is None:
        return tf
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    return tf


# kind -> (function of its path and threads to the shape of an image and what runs a batch of
# them, the module whose import is not counted as loading)
RUNTIMES = {
    "keras": (keras, "transfuse_keras.model.load"),
    "saved_model": (saved_model, "tensorflow"),
    "litert": (litert, "ai_edge_litert.interpreter"),
    "onnx": (onnx, "onnxruntime"),
    "openvino": (openvino, "openvino"),
    "matmul": (matmul, "tensorflow"),
}

KIND_OF_ENDING = {".keras": "keras", ".tflite": "litert", ".onnx": "onnx", ".xml": "openvino"}


def read_memory(field):
    """Bytes that this process holds (VmRSS), held at most (VmHWM) or may write to (VmData); None
    where the system does not tell.

    Not `resource.getrusage`, which on Linux begins with what the process held that started this.
    """
    if not STATUS.is_file():
        return None
    lines = STATUS.read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith(field)]
    return 1024 * int(line.split()[1])


def answer_questions(kind, questions, answer, **settings):
    """Load a model, then run it whenever a line comes in."""
    load, module = RUNTIMES[kind]
    importlib.import_module(module)
    start = time.perf_counter()
    shape, run = load(**settings)
    shape = [int(axis) for axis in shape]
    image = np.random.default_rng(0).uniform(0, 255, (1, *shape)).astype("float32")
    run(image)
    answer(shape=shape, load_seconds=time.perf_counter() - start)
    for _ in questions:
        run(image)  # not counted: brings the model back into the caches
        start = time.perf_counter()
        run(image)
        answer(seconds=time.perf_counter() - start, memory=read_memory("VmHWM"))


def main():
    sys.path.append(str(Path(__file__).parents[2]))  # for `keras`, if the package is not installed
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer

    def answer(**content):
        print(json.dumps(content), file=answers, flush=True)

    try:
        answer_questions(questions=sys.stdin, answer=answer, **json.loads(sys.argv[1]))
    except Exception as error:  # each library has its own for a damaged file
        answer(error=str(error).strip().partition("\n")[0] or type(error).__name__)


if __name__ == "__main__":
    main()
