"""Run by test_backends.py under each backend: logits of S, and one training step of a small model.

python tests/backend_probe.py OUT.npz writes the logits as S/<head>, the weights after the step as
after/<number> and what the step added to them as step/<number>.
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np
from parity import input_image, state_from_names

import transfuse_keras as tk
from transfuse_keras.weights import official_state

SPEC = Path(__file__).parent / "fixtures" / "official_state_spec.json"
SMALL = tk.Variant("resnet18", "deit_tiny_patch16_224", 1, (16, 8, 8))
SHAPE = (64, 64, 3)


def logits_of_s():
    model = tk.TransFuse("S", (192, 256, 3))
    tk.load_official(model, state_from_names(json.loads(SPEC.read_text())["TransFuse_S_classes1"]))
    return model.predict(input_image((1, 3, 192, 256)), verbose=0)


def one_step():
    """(before, after) of all weights, by model.fit with its default loss."""
    model = tk.TransFuse(SMALL, SHAPE, dropout=0.0)
    names = {name: array.shape for name, array in official_state(model).items()}
    tk.load_official(model, state_from_names(names))
    before = values(model)
    images = input_image((4, 3, *SHAPE[:2]), key=b"train")
    masks = (images[..., :1] > 0).astype("float32")
    model.compile(keras.optimizers.SGD(0.01))
    model.fit(images, masks, batch_size=4, epochs=1, verbose=0)
    return before, values(model)


def values(model):
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in model.weights]


def measure():
    """All arrays by their names."""
    arrays = {f"S/{head}": logits for head, logits in logits_of_s().items()}
    for i, (before, after) in enumerate(zip(*one_step(), strict=True)):
        arrays |= {f"after/{i}": after, f"step/{i}": after - before}
    return arrays


if __name__ == "__main__":
    np.savez(sys.argv[1], **measure())
