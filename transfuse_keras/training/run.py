"""A training from Python as from the command line: a folder in, a Run out."""

from __future__ import annotations

import base64
import html
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from transfuse_keras.data.readers import picture_pixels, read_image, to_8_bits
from transfuse_keras.data.volumes import read_slices, tell_doubts
from transfuse_keras.errors import InputError, quantity
from transfuse_keras.files import read_json
from transfuse_keras.inference.masks import to_masks
from transfuse_keras.inference.predict import average_flips, predict, predict_volume
from transfuse_keras.inference.predictor import Predictor, load_predictor
from transfuse_keras.runs.folder import COMPLETE
from transfuse_keras.runs.metadata import known_task
from transfuse_keras.runs.options import (
    OF_RECIPE,
    OF_SETTINGS,
    find_plan_options,
    leaves_start_open,
    parse_settings,
)
from transfuse_keras.tasks import Task, find_task
from transfuse_keras.training import train as training
from transfuse_keras.training.planning import choose_weights, plan_folder

log = logging.getLogger(__name__)

OPTIONS = {*OF_RECIPE, *OF_SETTINGS, "weights", "recipe", "threshold", "spacing", "fold", "folds"}
OPTIONS |= {"time_limit", "context"}
WORST_PICTURES = 4  # in a notebook


class Run:
    """A complete run: its scores, its report, and masks of new images.

    Attributes:
        folder: Path of the run folder.
        task: Task that it was trained for.
        thresholds: one for each class: a pixel belongs to it if its probability reaches this.
        scores: the content of metrics.json: "mean", "classes" and more, see docs/evaluation.md.
        report: Path of report.html.
    """

    task: Task
    thresholds: tuple[float, ...]
    scores: dict[str, Any]

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.task, self.thresholds = known_task(self.folder)
        self.scores = read_json(self.folder / COMPLETE)
        self.report = self.folder / "report.html"

    @cached_property
    def predictor(self) -> Predictor:
        """The model with the mirror images of its task; loaded when it is first used."""
        own = load_predictor(self.folder)
        return average_flips(own, self.task.flips, self.task.mirrored_classes)

    def predict(self, image: np.ndarray | str | Path) -> np.ndarray:
        """The masks of an image, as `transfuse predict` writes them.

        Args:
            image: path of an image, or an array or PIL image as `tk.predict` takes it; for a task
                on volumes the path of a volume.

        Returns: uint8 0/1 (H, W, M) at the image's own size; of a volume (D, H, W, M), slices in
        the order of docs/data.md.

        Raises: InputError if the file cannot be read, or the values do not tell black from white.
        """
        task = self.task
        if task.field is not None:
            if not isinstance(image, (str, Path)):
                raise InputError("A run on volumes predicts files; give the path of a volume.")
            slices, spacing, doubt = read_slices([Path(str(image))], task.channels)
            for sentence in tell_doubts({doubt: [image]}):
                log.warning(sentence)
            maps = predict_volume(self.predictor, slices, spacing, task.field, context=task.context)
        else:
            if isinstance(image, (str, Path)):
                pixels = read_image(Path(image), task.channels, **task.ranges)
            elif isinstance(image, Image.Image):
                upright = ImageOps.exif_transpose(image)
                pixels = picture_pixels(upright, task.channels, task.value_range)
            else:
                pixels = np.asarray(image)
                if pixels.dtype.kind in "iu" and pixels.dtype != np.uint8:
                    pixels = to_8_bits(pixels, "The image", task.value_range)
            maps = predict(self.predictor, pixels)
        return to_masks(maps, self.thresholds, task.exclusive, task.sure_maps)

    def __repr__(self) -> str:
        mean, count = format_dice(self.scores["mean"]["dice"]), self.scores["n"]
        return f"Run({str(self.folder)!r}: Dice {mean} on {quantity(count, 'test case')})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(name)}</td><td>{format_dice(of['dice'])}</td>"
            f"<td>{of['n']}</td></tr>"
            for name, of in self.scores["classes"].items()
        )
        overlays = self.folder / "overlays"
        shown = sorted(read_json(overlays / "index.json"), key=lambda one: one["score"])
        pictures = "".join(
            f'<img alt="{html.escape(one["case"])}, truth green, prediction magenta" width="220" '
            f'src="data:image/png;base64,{encode_base64(overlays / one["file"])}">'
            for one in shown[:WORST_PICTURES]
        )
        return (
            f"<p>{html.escape(repr(self))}; <code>{html.escape(str(self.report))}</code></p>"
            f"<table><tr><th>class</th><th>Dice</th><th>cases</th></tr>{rows}</table>"
            f"<div>{pictures}</div>"
        )


def encode_base64(file):
    return base64.b64encode(file.read_bytes()).decode()


def format_dice(score):
    return "-" if score is None else f"{score:.3f}"  # of a class that no test case shows


def train(
    data: str | Path | None = None,
    task: Task | str | Path | None = None,
    out: str | Path | None = None,
    export: bool = True,
    track: Sequence[str] = (),
    **options: Any,
) -> Run:
    """Train on a folder, as `transfuse train --data DIR` does.

    Args:
        data: folder in a known layout; None for the phantoms of a task.
        task: Task, the name of a built-in one, or a task file; None plans one for the folder, which
            is logged and kept as a task file beside it.
        out: the run folder; by default savedmodels/<task>, or the first free <task>-2, ...
        export: whether to write saved_model/ and model.tflite too.
        track: trackers that are told the epochs and the test scores: "wandb", "mlflow".
        **options: those of `transfuse train`, such as epochs=10, image_size=(256, 256),
            weights="none", threshold="auto", spacing=(0.5, 0.5).

    Returns: Run.

    Raises: InputError if the folder or an option cannot be used.

    Example:
        >>> import transfuse_keras as tk
        >>> small = {"variant": "U-Ti", "image_size": (32, 32), "epochs": 1, "limit": 8}
        >>> run = tk.train(task="hip", export=False, **small)  # on phantoms
        >>> images, masks, spacing = tk.phantoms("hip", count=1, size=(64, 48))
        >>> run.predict(images[0]).shape
        (64, 48, 3)
        >>> run.report.name
        'report.html'
    """
    if options.get("folds") is not None and options.get("fold") is None:
        raise InputError("folds: give fold, too; `transfuse train --folds` trains all of them.")
    if unknown := sorted(options.keys() - OPTIONS):
        raise InputError(f"Unknown option {unknown[0]}; known are {', '.join(sorted(OPTIONS))}.")
    if data is not None:
        options["data"] = str(data)
    if task is None and data is not None:
        task = plan_folder(data, **find_plan_options(options))
    if task is not None and not isinstance(task, Task):
        task = find_task(str(task))
    settings = parse_settings(options, task)
    if leaves_start_open(options, settings.task):
        options["weights"] = choose_weights(settings.recipe.variant)
        settings = parse_settings(options, task)
    settings = replace(settings, ending=() if export else ("no_export",))
    return Run(training.train_task(settings, out, export=export, track=track))
