"""Weights made to hurt: archives that claim or unpack to gigabytes, and code that would run."""

import io
import json
import pickle
import struct
import zipfile
import zlib
from dataclasses import asdict

import numpy as np

from benchmarks.reliability.fuzz_hostile import DEEP, ZEROS
from benchmarks.reliability.fuzz_mutations import zip_of
from benchmarks.reliability.fuzz_seeds import SMALLEST, own_keras, safetensors, state


class RunsCode:
    """What a pickle of this does when it is read: a command of the shell."""

    def __reduce__(self):
        import os

        return os.system, ("touch executed",)


def npy_header(shape, dtype="<f4"):
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (63 - (len(text) + 10) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def zip_bomb(name, start=b"", gigabytes=8):
    """A zip archive of one member that unpacks to `start` and gigabytes of zeros."""
    flush = zlib.Z_FULL_FLUSH
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    head = packer.compress(start) + packer.flush(flush)
    zeros = packer.compress(bytes(ZEROS)) + packer.flush(flush)
    packed = head + zeros * (gigabytes * 2**30 // ZEROS) + packer.flush()
    size = len(start) + gigabytes * 2**30
    # version 4.5 for ZIP64, deflated; the sizes are in the extra field
    extra = struct.pack("<HHQQ", 1, 16, size, len(packed))
    common = struct.pack("<HHHHHIIIHH", 45, 0, 8, 0, 33, 0, 2**32 - 1, 2**32 - 1, len(name), 20)
    local = b"PK\x03\x04" + common + name.encode() + extra + packed
    central = b"PK\x01\x02" + struct.pack("<H", 45) + common + bytes(14) + name.encode() + extra
    end = struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    return local + central + b"PK\x05\x06" + end


def saved(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def hostile_npz():
    weight = state()["conv1.weight"]
    giant = npy_header((2**20, 2**20))
    return [
        zip_of({"conv1.weight.npy": giant}),
        zip_of({"conv1.weight.npy": npy_header((2**31, 2**31, 2**31))}),
        zip_of({"conv1.weight.npy": npy_header((-1, 3))}),
        zip_of({"conv1.weight.npy": npy_header((1,), "|O") + pickle.dumps(RunsCode())}),
        zip_of({"conv1.weight.npy": pickle.dumps(RunsCode())}),
        pickle.dumps(RunsCode()),
        zip_bomb("conv1.weight.npy", npy_header((2**31,))),
        saved(**{**state(), "conv1.weight": weight.astype("U10")}),
        saved(**{**state(), "conv1.weight": weight.astype("complex64")}),
        saved(**{**state(), "conv1.weight": np.float32(1)}),
        saved(**{**state(), "bn1.weight": np.full(4, np.nan, "float32")}),
        saved(**{f"x{i}" + "y" * 200: np.zeros(1) for i in range(100)}),
    ]


def hostile_safetensors():
    content = safetensors()[0]
    return [
        struct.pack("<Q", 2**63) + content[8:],
        struct.pack("<Q", 2**40) + content[8:],
        struct.pack("<Q", len(DEEP)) + DEEP,
        with_header([2**31, 2**31], 4),
        with_header([0, 2**62], 0),
    ]


def with_header(shape, size):
    """A file of one tensor that claims this shape and has `size` bytes."""
    header = {"conv1.weight": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(size)


def hostile_pth():
    """Read by PyTorch only; the second is refused by its `weights_only`, as the first."""
    archive = {
        "a/data.pkl": pickle.dumps(RunsCode(), 2),
        "a/version": b"3\n",
        "a/byteorder": b"little",
    }
    return [
        pickle.dumps(RunsCode(), 2),
        zip_of(archive),
        zip_of({**archive, "a/data.pkl": pickle.dumps([1, 2], 2)}),
        zip_of({**archive, "a/data.pkl": pickle.dumps({1: 2}, 2)}),
        zip_of({**archive, "a/data.pkl": pickle.dumps({"conv1.weight": "x"}, 2)}),
        zip_bomb("a/data.pkl"),
    ]


def keras_with(**changes):
    """The smallest model, another configuration in its file."""
    content = own_keras()[0]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    config["config"] |= changes
    return zip_of({**members, "config.json": json.dumps(config).encode()})


def keras_of(config):
    return zip_of({"metadata.json": b"{}", "config.json": json.dumps(config).encode()})


def layer(module, kind, **config):
    return {"module": module, "class_name": kind, "config": config, "registered_name": None}


def hostile_keras():
    code = {
        "class_name": "__lambda__",
        "config": {"value": "4wAAAAA=", "defaults": None, "closure": None},
    }
    unsafe = layer("keras.layers", "Lambda", function=code, name="x")
    system = layer("os", "system", command="touch executed")
    file = layer("builtins", "open", file="executed", mode="w")
    sequential = layer("keras", "Sequential", name="s", layers=[unsafe])
    served = layer("keras.layers", "TFSMLayer", filepath=".", name="x")
    return [
        *(keras_of(config) for config in (unsafe, system, file, sequential, served, [], None, 3)),
        *(keras_with(cnn=config) for config in (unsafe, system, file, sequential, served)),
        keras_with(weights="imagenet"),
        keras_with(weights="model.keras"),
        keras_with(input_shape=[2**20, 2**20, 3]),
        keras_with(position_grid=[2**15, 2**15]),
        keras_with(classes=2**40),
        keras_with(variant={**asdict(SMALLEST), "depth": 10**6}),
        keras_with(variant={**asdict(SMALLEST), "widths": [2**20, 8, 8]}),
        keras_with(dropout=float("nan")),
        keras_with(name="../../x"),
        zip_bomb("config.json", gigabytes=3),
        zip_bomb("config.json"),
        zip_of({"config.json": DEEP}),
    ]
