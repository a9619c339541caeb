"""This machine's processor: its name, its instruction sets, and TensorFlow as it suits them."""

import logging
import os
import platform
import sys
import time
from pathlib import Path

from transfuse_keras.versions import has_tensorflow

log = logging.getLogger(__name__)

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
FASTER = 0.8  # of the time of float32: for less bfloat16 is not worth a word
CPUINFO = Path("/proc/cpuinfo")  # of Linux; other systems tell no instruction sets here
INSTRUCTION_SETS = {  # flag -> name
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "VNNI",
    "avx_vnni": "VNNI",
    "avx512_bf16": "bfloat16",
    "amx_tile": "AMX",
    "asimd": "NEON",
    "asimddp": "dot product",
    "i8mm": "int8 matrices",
    "bf16": "bfloat16",
}


def describe_processor():
    """{"cpu": its name as the system calls it, "instructions": list of INSTRUCTION_SETS' names}."""
    lines = CPUINFO.read_text(encoding="utf-8").splitlines() if CPUINFO.is_file() else []
    facts = {}
    for line in lines:  # one block for each core: the first counts
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    flags = set(facts.get("flags", facts.get("Features", "")).split())
    found = [name for flag, name in INSTRUCTION_SETS.items() if flag in flags]
    name = facts.get("model name") or platform.processor() or platform.machine()
    return {"cpu": name, "instructions": list(dict.fromkeys(found))}


def prefer_onednn():
    """Let TensorFlow, if it is still to be imported, compute by oneDNN where that is faster.

    TensorFlow does so itself on processors with instructions for neural networks. On those with
    AVX2 alone it does not, and a training step of S takes a fifth longer (docs/speed.md). What the
    user has set in the environment stays.
    """
    sets = describe_processor()["instructions"]
    if ONEDNN in os.environ or "tensorflow" in sys.modules:
        return
    if "AVX2" in sets and not {"AVX-512", "VNNI"} & set(sets):
        os.environ[ONEDNN] = "1"
        log.info(f"TensorFlow computes by oneDNN, faster on this processor; {ONEDNN}=0 stops that.")


def suggest_precision(precision):
    """A sentence on the precision in which a training is faster on this processor, or "".

    Some processors with instructions for bfloat16 are slower with them, so a product is timed.
    """
    import keras

    from transfuse_keras.devices import name_accelerators

    known = {"AVX-512", "bfloat16"} <= set(describe_processor()["instructions"])
    if precision != "float32" or not known or keras.backend.backend() == "jax":
        return ""
    if name_accelerators():
        return ""
    ratio = time_product("bfloat16") / time_product("float32")
    if ratio > FASTER:
        return ""
    return (
        f"This processor multiplies matrices in bfloat16 in {ratio:.1f} of the time of float32: "
        "--precision mixed_bfloat16 makes a step shorter; see docs/precision.md."
    )


def time_product(dtype, side=1024, rounds=4):
    """The shortest seconds of a product of two square matrices."""
    import keras

    matrix = keras.ops.ones((side, side), dtype)
    seconds = []
    for _ in range(rounds):  # the first one prepares
        start = time.perf_counter()
        keras.ops.convert_to_numpy(keras.ops.matmul(matrix, matrix)[:1])
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def import_tensorflow():
    """Import TensorFlow, see `silenced`; nothing is done on another backend or without it."""
    other = os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow"
    if other or not has_tensorflow():
        return
    from transfuse_keras.data.quiet import silenced  # which imports Pillow

    prefer_onednn()
    with silenced():
        import tensorflow  # noqa: F401
