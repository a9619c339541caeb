"""How close every published model is to its PyTorch original: python benchmarks/parity.py

Weights are rebuilt from their names, outputs compared with the golden arrays in tests/fixtures
(timm 1.0.31, and the authors' code at github.com/Rayicer/TransFuse, commit 3f50ab6). Writes
docs/parity.md; about 2 minutes and 6 GB of memory.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import keras
import numpy as np
from parity import input_image, relative_error, state_from_names

import transfuse_keras as tk

ROOT = Path(__file__).parents[1]
FIXTURES = ROOT / "tests" / "fixtures"
OFFICIAL = {
    "TransFuse_S": ("S", (192, 256), 1),
    "TransFuse_L": ("L-R50", (192, 256), 1),
    "TransFuse_L_384": ("L-R50", (384, 512), 2),  # stored at every second pixel
}
PAGE = """# Parity with PyTorch

With the same weights, how far our outputs are from those of the PyTorch originals: the largest
difference divided by the largest value, in float32 on a CPU ({backend} backend, Keras {keras}).
Weights are rebuilt from their names by a rule, so no weight file is needed: `tests/parity.py`.

    python benchmarks/parity.py        # makes this page

The tests demand less than 1e-4 everywhere (`make test-all`).

## The authors' TransFuse

| model | variant | input | mask | transformer | fusion |
| --- | --- | --- | ---: | ---: | ---: |
{official}

## CNN branches (timm 1.0.31; torchvision's ResNets have the same names)

| model | input | stride 4 | stride 8 | stride 16 |
| --- | --- | ---: | ---: | ---: |
{cnns}

## Transformer branches (timm 1.0.31; DeiT's files have the same names)

| model | blocks | input | tokens |
| --- | ---: | --- | ---: |
{vits}

## Loss and training

| what | error | test |
| --- | ---: | --- |
{loss}

One whole training step of S (losses, gradients, statistics, weights) is compared in
`tests/weights/test_official.py`, TensorFlow with JAX in `tests/test_backends.py`.
"""


def row(*cells):
    return "| " + " | ".join(f"{c:.1e}" if isinstance(c, float) else str(c) for c in cells) + " |"


def official():
    specs = json.loads((FIXTURES / "official_state_spec.json").read_text(encoding="utf-8"))
    for name, (variant, size, step) in OFFICIAL.items():
        golden = np.load(FIXTURES / f"official_{name}_classes1_seed1.npz")
        model = tk.TransFuse(variant, (*size, 3))
        tk.load_official(model, state_from_names(specs[f"{name}_classes1"]))
        maps = model(input_image((1, 3, *size)), training=False)
        errors = [
            float(relative_error(maps[head][:, ::step, ::step], golden[head].transpose(0, 2, 3, 1)))
            for head in ("mask", "transformer", "fusion")
        ]
        yield row(name, variant, f"{size[0]}x{size[1]}", *errors)


def cnns(specs):
    for name in (name for name in specs if "patch16" not in name):
        golden = np.load(FIXTURES / f"timm_{name}_seed1.npz")
        cnn = tk.create_cnn(name, (96, 128, 3))
        tk.load_timm(cnn, state_from_names(specs[name]))
        errors = [
            float(relative_error(ours, golden[f"stride{stride}"].transpose(0, 2, 3, 1)))
            for stride, ours in zip((4, 8, 16), cnn(input_image((1, 3, 96, 128))), strict=True)
        ]
        yield row(name, "96x128", *errors)


def vits(specs):
    for name in (name for name in specs if "patch16" in name):
        golden = np.load(FIXTURES / f"timm_{name}_seed1.npz")
        depth, size = int(golden["depth"]), int(name[-3:])
        vit = tk.create_vit(name, (size, size, 3), depth)
        tk.load_timm(vit, state_from_names(specs[name]))
        tokens = np.asarray(vit(input_image((1, 3, size, size))))
        error = float(relative_error(tokens[:, ::7], golden["tokens_every_7th"]))
        yield row(name, depth, f"{size}x{size}", error)


def loss():
    golden = np.load(FIXTURES / "loss_seed1.npz")
    logits, mask = (golden[name].transpose(0, 2, 3, 1) for name in ("logits", "mask"))
    value = keras.ops.convert_to_numpy(tk.StructureLoss()(mask, logits))
    yield row(
        "StructureLoss", float(relative_error(value, golden["loss"])), "tests/model/test_losses.py"
    )


def main():
    specs = json.loads((FIXTURES / "timm_state_spec.json").read_text(encoding="utf-8"))
    tables = {
        "official": official(),
        "cnns": cnns(specs),
        "vits": vits(specs),
        "loss": loss(),
    }
    filled = {}
    for name, rows in tables.items():
        lines = []
        for line in rows:
            print(line, flush=True)
            lines.append(line)
        filled[name] = "\n".join(lines)
    page = PAGE.format(backend=keras.backend.backend(), keras=keras.__version__, **filled)
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "parity.md"
    path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
