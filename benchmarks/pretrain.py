"""Does pretraining on images without masks pay? TransFuse restores hidden patches of them first.

    python benchmarks/pretrain.py --images DIR [DIR ...] --out pretrained.keras
    transfuse train --task skin --data DIR --recipe scratch-v2 --variant Ti --image-size 96 128 \\
        --weights pretrained.keras --skip-heads

Masked image modelling as SimMIM does it (Xie et al. 2022): 0.6 of the patches of 16x16 pixels are
grey in the input, and each head gives the colours of all pixels; the loss is their L1 distance
where they were hidden. So both branches, the fusion and the decoder are trained, not the heads.
Images are flipped and cropped, by the recipe scratch otherwise. Prints a line for each epoch.
"""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import cv2
import keras
import numpy as np
from keras import ops

import transfuse_keras as tk
from transfuse_keras.data.normalization import normalizer
from transfuse_keras.data.resize import resize_image
from transfuse_keras.runs.processor import describe_processor
from transfuse_keras.tasks import Recipe
from transfuse_keras.tasks.task import RECIPE_CHANGES
from transfuse_keras.training.optimizer import create_optimizer

PATCH, HIDDEN = 16, 0.6
SMALLEST_CROP = 0.67  # of each side, SimMIM's range of area


class HiddenPatches(keras.utils.PyDataset):
    """Batches of normalised images with hidden patches, (B, H, W, 3), and as targets the colours
    and where they are hidden, (B, H, W, 4)."""

    def __init__(self, images, size, normalization, batch_size, seed):
        super().__init__()
        self.images, self.size, self.batch_size = images, size, batch_size
        self.normalize = normalizer(normalization, np.dtype("uint8"))
        self.rng = np.random.default_rng(seed)
        self.on_epoch_end()

    def __len__(self):
        return len(self.images) // self.batch_size

    def __getitem__(self, index):
        chosen = self.order[index * self.batch_size :][: self.batch_size]
        colours = np.stack([self.draw(self.images[i]) for i in chosen])
        grid = [side // PATCH for side in self.size]
        ranks = self.rng.random((len(chosen), *grid)).reshape(len(chosen), -1).argsort(-1).argsort()
        hidden = (ranks < HIDDEN * ranks.shape[1]).reshape(len(chosen), *grid, 1)
        hidden = hidden.repeat(PATCH, axis=1).repeat(PATCH, axis=2).astype("float32")
        return colours * (1 - hidden), np.concatenate([colours, hidden], axis=-1)

    def on_epoch_end(self):
        self.order = self.rng.permutation(len(self.images))

    def draw(self, image):
        """A crop of an image, flipped or not, normalised."""
        sides = image.shape[:2]
        crop = [round(side * self.rng.uniform(SMALLEST_CROP, 1)) for side in sides]
        top, left = (
            self.rng.integers(side - part + 1) for side, part in zip(sides, crop, strict=True)
        )
        image = image[top : top + crop[0], left : left + crop[1]]
        image = image[:: self.rng.choice([1, -1]), :: self.rng.choice([1, -1])]
        return self.normalize(resize_image(np.ascontiguousarray(image), self.size))


def restoration_loss(target, restored):
    """Mean L1 distance of the colours, over hidden pixels."""
    colours, hidden = target[..., :3], target[..., 3:]
    return ops.sum(ops.abs(restored - colours) * hidden) / (3 * ops.sum(hidden))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--images", type=Path, nargs="+", required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--variant", default="Ti")
    parser.add_argument("--image-size", type=int, nargs=2, default=(96, 128), metavar=("H", "W"))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    size = tuple(arguments.image_size)
    files = sorted(file for folder in arguments.images for file in folder.iterdir())
    larger = tuple(round(side / SMALLEST_CROP) for side in size)
    images = [resize_image(cv2.imread(str(file))[..., ::-1], larger) for file in files]

    keras.utils.set_random_seed(arguments.seed)
    recipe = Recipe(**{**RECIPE_CHANGES["scratch-v2"], "epochs": arguments.epochs})
    model = tk.TransFuse(arguments.variant, (*size, 3), classes=3, dropout=0.0)
    batches = HiddenPatches(images, size, model.normalization, recipe.batch_size, arguments.seed)
    model.compile(create_optimizer(recipe, len(batches)), loss=restoration_loss)
    print(f"{len(images)} images; {describe_processor()['cpu']}", flush=True)
    tell = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: print(
            f"Epoch {epoch + 1}: mask {logs['mask_loss']:.4f}, transformer "
            f"{logs['transformer_loss']:.4f}, {time.process_time():.0f} CPU-s",
            flush=True,
        )
    )
    model.fit(batches, epochs=arguments.epochs, verbose=0, callbacks=[tell])
    model.save(arguments.out)


if __name__ == "__main__":
    main()
