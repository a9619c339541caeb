"""How well a run's Trust does on held-back cases and on images of other tasks:
python benchmarks/trust.py RUN"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import transfuse_keras as tk
from transfuse_keras.files import read_json
from transfuse_keras.runs.folder import read_config
from transfuse_keras.runs.trust import read_trust

OTHERS = ("hip", "polyp", "skin")  # tasks whose phantoms are RGB
COUNT, SEED = 64, 7


def count_unlike(trust, images):
    """How many of the images are unlike those that a Trust was fitted on."""
    return sum(bool(trust.describe_unlike(image)) for image in images)


if __name__ == "__main__":
    run = Path(sys.argv[1])
    metrics, trust = read_json(run / "metrics.json"), read_trust(run)
    found = metrics["trust"]
    for name, quality in found["quality"].items():
        scaled, raw = found["ece"][name], metrics["calibration"][name]["ece"]
        print(
            f"{name}: temperature {found['temperature'][name]:.3f}, ECE {raw:.4f} -> {scaled:.4f}"
        )
        print(
            ", ".join(f"{key} {value:.3f}" for key, value in quality.items() if value is not None)
        )
    print(f"unlike the training: {len(found['unlike_training'])} of {metrics['n']} held back")
    size = tuple(read_config(run)["recipe"]["image_size"])  # that its own phantoms have
    for task in OTHERS:
        images = tk.phantoms(task, COUNT, size, SEED)[0]
        print(f"unlike the training: {count_unlike(trust, images)} of {COUNT} phantoms of {task}")
