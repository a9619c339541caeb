"""What an exported model says of itself: the content of its .json, inside the file as well.

Each format has a place for such words: ONNX metadata_props, LiteRT Metadata, OpenVINO rt_info,
safetensors __metadata__, a SavedModel its folder assets.extra. There it is one JSON text by the
name of KEY. No runtime, converter or Keras is needed to read it or to write it anew.
"""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from transfuse_keras.errors import EXPORT_AGAIN, InputError, first_line
from transfuse_keras.files import replacing

KEY = "transfuse"
# values in an ONNX graph that its description tells under the same names -> their type
SETTINGS = {"thresholds": "float32", "exclusive": "bool"}
IN_REPOSITORY = Path("transfuse", "1", "model.onnx")  # a model, its version, its file
ASSET = Path("assets.extra", f"{KEY}.json")  # TensorFlow leaves this folder to users


def read_embedded(path):
    """The description that an exported model carries.

    Args:
        path: Path of a .tflite, .onnx, OpenVINO .xml or .safetensors file, or of the folder of a
            SavedModel.

    Returns: the content of its JSON; None if it carries none, or is something else.

    Raises: InputError if the file is damaged.
    """
    places = find_access(path)
    if places is None:
        return None
    try:
        text = places[0](path)
        return None if text is None else json.loads(text)
    except OSError:
        raise
    except Exception as error:  # each library has its own for a damaged file
        raise InputError(f"{path}: damaged ({first_line(error)}); {EXPORT_AGAIN}.") from error


def write_embedded(path, content):
    """Put a description into an exported model, in the place of the one that it carries.

    Args:
        path: as of `read_embedded`.
        content: plain data.
    """
    _, write = find_access(path)
    write(path, json.dumps(content))


def find_access(path):
    """(function that reads, function that writes) of the format of a file, or None."""
    if (path / "saved_model.pb").is_file():
        return read_asset, write_asset
    if (inner := find_inner_model(path)) is not None:
        read, write = PLACES[inner.suffix]
        return lambda _: read(inner), lambda _, text: write(inner, text)
    return PLACES.get(path.suffix) if path.is_file() else None


def find_inner_model(path):
    """The model file in the folder of a page or of a Triton model repository (`--format web`,
    `triton`); None for anything else."""
    if (path / IN_REPOSITORY).is_file():
        return path / IN_REPOSITORY
    return find_model_of_page(path)


def find_model_of_page(path):
    """The .tflite file in the folder of a page (`--format web`); None for anything else."""
    file = path / "model.tflite"
    return file if file.is_file() and (path / "index.html").is_file() else None


def read_asset(path):
    file = path / ASSET
    return file.read_text(encoding="utf-8") if file.is_file() else None


def write_asset(path, text):
    (path / ASSET).parent.mkdir(exist_ok=True)
    with replacing(path / ASSET) as temporary:
        temporary.write_text(text, encoding="utf-8")


def onnx_model():
    """An empty ModelProto of ONNX of which only the metadata and the values in the graph are named;
    Protocol Buffers keeps the fields that it does not know, so nothing else of a file changes."""
    from google.protobuf import descriptor_pb2, message_factory

    file = descriptor_pb2.FileDescriptorProto(name=f"{KEY}.proto", package=KEY)
    # of onnx.proto: field 14 is a list of pairs of texts, field 5 of field 7 one of tensors
    text, binary, repeated, message = 9, 12, 3, 11
    pair = file.message_type.add(name="StringStringEntryProto")
    pair.field.add(name="key", number=1, type=text, label=1)
    pair.field.add(name="value", number=2, type=text, label=1)
    model = file.message_type.add(name="ModelProto")
    kind = f".{KEY}.{pair.name}"
    model.field.add(name="metadata_props", number=14, type=message, label=repeated, type_name=kind)
    tensor, graph = (file.message_type.add(name=name) for name in ("TensorProto", "GraphProto"))
    tensor.field.add(name="name", number=8, type=text, label=1)
    tensor.field.add(name="raw_data", number=9, type=binary, label=1)
    kinds = f".{KEY}.{tensor.name}", f".{KEY}.{graph.name}"
    graph.field.add(name="initializer", number=5, type=message, label=repeated, type_name=kinds[0])
    model.field.add(name="graph", number=7, type=message, label=1, type_name=kinds[1])
    return message_factory.GetMessages([file])[f"{KEY}.ModelProto"]()


def load_onnx(path):
    model = onnx_model()
    model.ParseFromString(path.read_bytes())
    return model


def read_onnx(path):
    return next((pair.value for pair in load_onnx(path).metadata_props if pair.key == KEY), None)


def write_onnx(path, text):
    model = load_onnx(path)
    for pair in [pair for pair in model.metadata_props if pair.key == KEY]:
        model.metadata_props.remove(pair)
    model.metadata_props.add(key=KEY, value=text)
    for tensor in model.graph.initializer:
        if tensor.name in SETTINGS:
            value = json.loads(text)[tensor.name]
            tensor.raw_data = np.array(value, SETTINGS[tensor.name]).tobytes()
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


def read_litert(path):
    from ai_edge_litert.schema_py_generated import Model

    model = Model.GetRootAs(path.read_bytes())
    for entry in map(model.Metadata, range(model.MetadataLength())):
        if entry.Name() == KEY.encode():
            return model.Buffers(entry.Buffer()).DataAsNumpy().tobytes().decode()
    return None


def write_litert(path, text):
    from ai_edge_litert.schema_py_generated import BufferT, MetadataT
    from ai_edge_litert.tools.flatbuffer_utils import read_model_from_bytearray, write_model

    # its read_model maps the file, and no file that is mapped can be renamed on Windows
    model = read_model_from_bytearray(path.read_bytes())
    known = {entry.name: entry for entry in model.metadata or []}
    if KEY.encode() not in known:
        entry = MetadataT()
        entry.name, entry.buffer = KEY.encode(), len(model.buffers)
        model.buffers.append(BufferT())
        model.metadata = [*known.values(), entry]
        known[entry.name] = entry
    model.buffers[known[KEY.encode()].buffer].data = np.frombuffer(text.encode(), "uint8")
    with replacing(path) as temporary:
        write_model(model, temporary)


def read_openvino(path):
    found = ElementTree.parse(path).find(f"rt_info/{KEY}")
    return None if found is None else found.get("value")


def write_openvino(path, text):
    tree = ElementTree.parse(path)
    info = tree.find("rt_info")
    found = info.find(KEY)
    if found is None:
        found = ElementTree.SubElement(info, KEY)
    found.set("value", text)
    with replacing(path) as temporary:
        tree.write(temporary, encoding="utf-8", xml_declaration=True)


def read_safetensors(path):
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        return (file.metadata() or {}).get(KEY)


def write_safetensors(path, text):
    from safetensors import safe_open
    from safetensors.numpy import save

    with safe_open(path, "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        known = file.metadata() or {}
    with replacing(path) as temporary:
        temporary.write_bytes(save(tensors, {**known, KEY: text}))


PLACES = {
    ".tflite": (read_litert, write_litert),
    ".onnx": (read_onnx, write_onnx),
    ".xml": (read_openvino, write_openvino),
    ".safetensors": (read_safetensors, write_safetensors),
}
