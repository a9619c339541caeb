"""What a model file is, told without running it and mostly without the library that made it."""

import json
import re
import zipfile
from pathlib import Path

from transfuse_keras.errors import EXPORT_AGAIN, SCORE_AGAIN, InputError, blaming, quantity
from transfuse_keras.files import read_json
from transfuse_keras.runs.folder import COMPLETE, CONFIG, find_run, run_task, run_thresholds
from transfuse_keras.runs.metadata import count_bytes, read_description
from transfuse_keras.versions import describe_versions
from transfuse_keras.weights.readers import READERS, read_grid, read_tensors, refuse_zip_bomb

FORMAT_NAMES = {
    "saved_model": "TensorFlow SavedModel",
    "litert": "LiteRT",
    "onnx": "ONNX",
    "onnx-any-size": "ONNX for images of any size",
    "web": "page for browsers with a LiteRT file",
    "triton": "model repository of Triton with an ONNX file",
    "openvino": "OpenVINO",
    "pytorch": "weights under the names of the authors' code",
}
PRECISION_NAMES = {
    "none": "float32",
    "float16": "float16 weights, float32 arithmetic",
    "dynamic": "int8 weights, activations quantised as they come",
    "int8": "int8 weights, activations of convolutions in fixed ranges",
}

ORDER = (  # in which it is told, whatever the format
    *("format", "variant", "task", "classes", "input", "averages", "precision", "parameters"),
    *("trained on", "scores", "scored", "verified", "written by", "on disk"),
)


def describe_file(path):
    """What a model file is.

    Args:
        path: run folder, folder of a SavedModel, or .keras, .tflite, .onnx, OpenVINO .xml,
            .safetensors, .npz, .pth or .pt file; the last two need torch.

    Returns: dict of text to text, such as "classes" to "lens from 0.5, iris from 0.4".

    Raises: InputError if the file is missing or damaged, or does not say what it is.
    """
    path = Path(path)
    if path.suffix == ".keras" or (path.is_dir() and (path / CONFIG).is_file()):
        found = describe_own(path)
    else:
        source, about = read_description(path)
        if about is not None:
            found = describe_exported(source, about)
        elif path.suffix in READERS:
            found = describe_weights(path)
        else:
            raise InputError(
                f"{path}: does not say what it is; an exported model does, and a run folder, a "
                f".keras file and weights ({', '.join(READERS)}) are known otherwise."
            )
    found["on disk"] = f"{count_bytes(path) / 1e6:.1f} MB"
    return {key: found[key] for key in sorted(found, key=ORDER.index)}


def describe_exported(source, about):
    """Of a model that `export` wrote; `source`: the file that says `about`."""
    with blaming(source, "does not describe a model", EXPORT_AGAIN):
        height, width = about["input"]["size"]
        size = f"{height}x{width} pixels (height x width)"
        if about["format"] == "onnx-any-size":
            size = f"of any size, resized to {size}"
        found = {
            "format": FORMAT_NAMES[about["format"]],
            "variant": about["variant"],
            "task": about["task"],
            "classes": describe_classes(
                about["classes"], about["thresholds"], about.get("sure", ())
            ),
            "input": f"{size}, {quantity(about['input']['channels'], 'channel')}"
            f"{describe_context(about.get('context'))}, {about['input']['values']}",
            **({"averages": about["averaged"]} if about.get("averaged") else {}),
            "precision": PRECISION_NAMES[about["quantize"]],
            **describe_scores(about["scores"], "not scored"),
            "trained on": describe_data(about["data"]),
            "written by": describe_versions(about["versions"]),
        }
        if verified := about.get("verified"):
            found["verified"] = (
                f"on {verified['images']}: probabilities differ from the Keras model's by at most "
                f"{verified['largest_difference']:.1e}"
            )
    return found


def describe_context(context):
    return f" (a slice and {context} on either side)" if context else ""


def describe_own(path):
    """Of a run folder or a `.keras` file, with what its run knows of it."""
    run, file = find_run(path), path / "model.keras" if path.is_dir() else path
    found = {"format": "run folder" if path.is_dir() else "Keras"}
    if file.is_file():
        found |= describe_keras(file)
    elif not path.is_dir() or run is None:
        raise InputError(f"{path}: is neither a run folder nor a model.")
    if run is None:
        return {**found, "task": "not known: the file lies in no run folder"}
    task = run_task(run)
    config, metrics = read_json(run / CONFIG), read_json(run / COMPLETE)
    found["task"] = task.name
    thresholds = run_thresholds(run, task.classes)
    found["classes"] = describe_classes(task.classes, thresholds, task.sure or ())
    with blaming(run / CONFIG, "does not tell what the run was trained on"):
        height, width = config["recipe"]["image_size"]
        found.setdefault("variant", config["recipe"]["variant"])
        found.setdefault("input", f"{height}x{width} pixels (height x width)")
        found["precision"] = config.get("precision", "float32")
        found["trained on"] = describe_data(config["data"])
        found["written by"] = describe_versions(config["versions"])
    with blaming(run / COMPLETE, "not the scores of a run", SCORE_AGAIN):
        found |= describe_scores(metrics, "the run is not complete")
    return found


def describe_keras(file):
    """Of a `.keras` file, by the configuration in it."""
    try:
        refuse_zip_bomb(file)
        with zipfile.ZipFile(file) as archive, archive.open("config.json") as config:
            content = json.loads(config.read(2**24))["config"]
        variant, (height, width, channels) = content["variant"], content["input_shape"]
        return {
            "variant": variant if isinstance(variant, str) else "own",
            "classes": f"{content['classes']} without names",
            "input": f"{height}x{width} pixels (height x width), {quantity(channels, 'channel')}",
        }
    except Exception as error:  # a damaged archive, JSON of something else
        raise InputError(f"{file}: damaged or not a TransFuse ({error}).") from error


def describe_weights(path):
    """Of a file of weights without a graph, by the names and shapes in it."""
    try:
        tensors, grid = read_tensors(path), read_grid(path)
    except ValueError as error:
        raise InputError(str(error)) from error
    dtypes = sorted({str(x.dtype) for x in tensors.values() if x.dtype.kind != "i"})
    found = {
        "format": f"weights: {quantity(len(tensors), 'tensor')}",
        "parameters": f"{sum(x.size for x in tensors.values()):,}",
        "precision": ", ".join(dtypes),
    }
    if (classes := tensors.get("final_2.1.conv.bias")) is None:
        return {**found, "task": "not known: these are no weights of a TransFuse"}
    blocks = {m[1] for name in tensors if (m := re.match(r"transformer\.blocks\.(\d+)\.", name))}
    cnn = {m[1] for name in tensors if (m := re.match(r"resnet\.(layer\d\.\d+)\.", name))}
    found["variant"] = f"a CNN of {len(cnn)} residual blocks, {len(blocks)} transformer blocks"
    if (positions := tensors.get("transformer.pos_embed")) is not None:
        where = f", a grid of {grid[0]}x{grid[1]}" if grid else ""
        found["input"] = f"{positions.shape[1]} patches of 16x16 pixels{where}"
    return {**found, "classes": f"{classes.size} without names", "task": "not told by this format"}


def describe_classes(names, thresholds, sure):
    """Each class, with its threshold, and whether its sure components alone stay."""
    return ", ".join(
        f"{name} from {threshold:g}" + " (sure components)" * (name in sure)
        for name, threshold in zip(names, thresholds, strict=True)
    )


def describe_data(data):
    """What a model was trained on, in words."""
    return "phantoms, which are artificial images" if data == "phantom" else data or "not known"


def describe_scores(scores, otherwise):
    """The mean scores of a run and what they mean, or why there are none. Distances with penalty
    are told where they are other than those without."""
    if not scores:
        return {"scores": otherwise}
    mean = {name: value for name, value in scores["mean"].items() if value is not None}
    plain = {name: name.removeprefix("penalized_") for name in mean}
    told = [
        f"{name} {value:.4g}"
        for name, value in mean.items()
        if plain[name] == name or value != mean.get(plain[name])
    ]
    return {
        "scores": f"{', '.join(told)} (mean of {quantity(scores['n'], 'case')})",
        "scored": scores["protocol"],
    }
