"""trust.json of a run: what is known on validation and training images of a model's reliability."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from transfuse_keras.data.statistics import describe_unlike, measure_image
from transfuse_keras.errors import blaming
from transfuse_keras.files import read_json, write_json
from transfuse_keras.metrics.expected_dice import expected_dice
from transfuse_keras.metrics.temperature import scale_probabilities
from transfuse_keras.runs.folder import find_run
from transfuse_keras.runs.metadata import read_description

TRUST_FILE = "trust.json"


@dataclass(frozen=True)
class Trust:
    """How far the predictions of a model can be trusted.

    Attributes:
        cases: number of validation cases that it was fitted on.
        temperature: class -> temperature of its probabilities, see `metrics.temperature`.
        quality: class -> (slope, intercept) from the expected Dice to the true one.
        look_below: the predicted Dice that a tenth of the masks of validation do not reach: who has
            less is to be looked at.
        ranges: statistic of images -> (smallest, largest) in training, see `data.statistics`.
    """

    cases: int
    temperature: dict[str, float]
    quality: dict[str, tuple[float, float]]
    look_below: float
    ranges: dict[str, tuple[float, float]]

    def predict_dice(self, maps, masks):
        """The Dice to expect of each class: class -> float in [0, 1].

        Args:
            maps: probabilities (..., M) as the model gives them.
            masks: the 0/1 masks of them.
        """
        found = {}
        for k, (name, temperature) in enumerate(self.temperature.items()):
            expected = expected_dice(scale_probabilities(maps[..., k], temperature), masks[..., k])
            slope, intercept = self.quality[name] if masks[..., k].any() else (1.0, 0.0)
            found[name] = float(np.clip(slope * expected + intercept, 0, 1))
        return found

    def describe_unlike(self, image):
        """What makes an image or volume unlike the training's, see `data.statistics`."""
        return describe_unlike(measure_image(image), self.ranges)


def write_trust(run, trust):
    """Keep a Trust with a run."""
    write_json(run / TRUST_FILE, asdict(trust))


def read_trust(model):
    """The Trust of a model: of its run, else as an exported file says itself; None if neither does.

    Args:
        model: its path.

    Raises: InputError if what is there is damaged.
    """
    run = find_run(model)
    if run is not None:
        file = run / TRUST_FILE
        content = read_json(file, "train again")
    else:
        file, about = read_description(Path(model))
        content = (about or {}).get("trust")
    if content is None:
        return None
    with blaming(file, "does not tell how far its model can be trusted"):
        return Trust(
            int(content["cases"]),
            {name: float(x) for name, x in content["temperature"].items()},
            {name: pair(content["quality"][name]) for name in content["temperature"]},
            float(content["look_below"]),
            {name: pair(x) for name, x in content["ranges"].items()},
        )


def pair(values):
    first, second = map(float, values)
    return first, second
