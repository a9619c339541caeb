"""How well a run's Trust does on held-back cases and on images of other kinds.

    python benchmarks/trust.py RUN --images DIR OTHER

DIR and OTHER are folders of images (PNG, JPEG). Of the cases that the run scored it prints how near
the predicted Dice is to the true one, and what `transfuse predict` would name to be looked at; of
all others, among them phantoms of the built-in tasks, how many it calls unlike the training.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

import transfuse_keras as tk
from transfuse_keras.data.readers import read_image
from transfuse_keras.files import read_json, read_table
from transfuse_keras.runs.folder import read_config
from transfuse_keras.runs.trust import read_trust

OTHERS = ("hip", "polyp", "skin")  # tasks whose phantoms are RGB
COUNT, SEED = 64, 7
FAILED = 0.5  # a mask with a smaller Dice


def describe_looks(rows, trust, unlike):
    """What looking at the masks that stand out would find.

    Args:
        rows: of quality.csv.
        trust: Trust of the run.
        unlike: names of the cases that are unlike the training.
    """
    predicted, dice = np.array([(row["predicted_dice"], row["dice"]) for row in rows], float).T
    look = (predicted < trust.look_below) | np.array([row["case"] in unlike for row in rows])
    failed = dice < FAILED
    means = " and ".join(f"{dice[x].mean():.3f}" if x.any() else "-" for x in (look, ~look))
    return (
        f"to be looked at: {look.sum()} of {len(rows)} masks; mean Dice of these and of the others "
        f"{means}; of {failed.sum()} masks below {FAILED} it names {(failed & look).sum()}"
    )


def count_unlike(trust, images):
    """How many of the images are unlike those that a Trust was fitted on."""
    return sum(bool(trust.describe_unlike(image)) for image in images)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=Path, nargs="*", default=[], metavar="DIR")
    arguments = parser.parse_args()
    run = arguments.run
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
    print(describe_looks(read_table(run / "quality.csv"), trust, found["unlike_training"]))
    print(f"unlike the training: {len(found['unlike_training'])} of {metrics['n']} held back")
    task = read_config(run)["task"]
    for folder in arguments.images:
        paths = [path for path in sorted(folder.iterdir()) if path.is_file()]
        count = count_unlike(trust, (read_image(path, task["channels"]) for path in paths))
        print(f"unlike the training: {count} of {len(paths)} images of {folder}")
    size = tuple(read_config(run)["recipe"]["image_size"])  # that its own phantoms have
    for other in OTHERS if task["channels"] == 3 else ():
        images = tk.phantoms(other, COUNT, size, SEED)[0]
        print(f"unlike the training: {count_unlike(trust, images)} of {COUNT} phantoms of {other}")


if __name__ == "__main__":
    main()
