"""Which file of a run is best on this machine, by what was measured."""

from transfuse_keras.export.budgets import BUDGETS
from transfuse_keras.runs.metadata import is_verified, read_quantization

GAIN = 0.9  # of the time of the fastest float32 file: for less a quantised one is not worth it
LEFT_OUT = ("TensorFlow", "OpenVINO bf16")  # what `predict` does not run


def recommend(run, rows):
    """The row of the file that `transfuse predict` should take on this machine.

    Args:
        run: Path of the run folder.
        rows: of `benchmark`, the fastest first.

    Returns: {"file", "latency_ms"}; None if the folder holds no model.keras to be the same as.
    """
    if not (run / "model.keras").is_file():
        return None
    exact, quantised = [], []
    for row in rows:
        path = run / row["file"]
        if row["runtime"] in LEFT_OUT or not (path.suffix == ".keras" or is_verified(path)):
            continue
        plain = path.suffix == ".keras" or read_quantization(path) == "none"
        (exact if plain else quantised).append(row)
    best = exact[0]  # model.keras at least
    if quantised and quantised[0]["latency_ms"] <= GAIN * best["latency_ms"]:
        best = quantised[0]
    return {key: best[key] for key in ("file", "latency_ms")}


def describe_recommendation(recommended, machine):
    """Sentences on what `recommend` gave and the instruction sets that decide."""
    sets = ", ".join(machine["instructions"]) or "instruction sets unknown"
    return [
        f"Fastest within {BUDGETS['int8'][2]} Dice on this processor ({sets}): "
        f"{recommended['file']}, {recommended['latency_ms']:.0f} ms.",
        "`transfuse predict` takes it for this run from now on, on this kind of processor.",
    ]
