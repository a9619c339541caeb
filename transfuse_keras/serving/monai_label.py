"""The part of MONAI Label's HTTP interface that predicts: /info/ and /infer/{model}.

Its requests and answers are documented at https://docs.monai.io/projects/label; the answer to
/infer is a form of two parts, `params` (JSON) and `image` (a label map).
"""

import io
import json
import uuid
from enum import StrEnum
from typing import Annotated

import cv2
import numpy as np
from fastapi import File, Form, HTTPException, UploadFile
from fastapi.responses import Response
from PIL import Image

from transfuse_keras import __version__
from transfuse_keras.errors import InputError
from transfuse_keras.files import portable
from transfuse_keras.serving.job import GIVEN
from transfuse_keras.serving.uploads import predict_uploads


class Result(StrEnum):
    ALL = "all"
    IMAGE = "image"
    JSON = "json"
    DICOM_SEG = "dicom_seg"


def add_monai_label(app, ask, task):
    """Add both routes to a FastAPI application; arguments as of `create_app`."""
    dimension = 2 if task.field is None else 3
    labels = {name: k for k, name in enumerate(task.classes, 1)}

    @app.get("/info/", tags=["MONAI Label"])
    def info():
        """What this service can do, as MONAI Label's clients ask for it."""
        description = f"TransFuse, task {task.name}"
        model = {"type": "segmentation", "labels": labels, "dimension": dimension}
        return {
            "name": "transfuse-keras",
            "description": description,
            "version": __version__,
            "labels": task.classes,
            "models": {task.name: {**model, "description": description, "config": {}}},
            **{x: {} for x in ("trainers", "strategies", "scoring", "train_stats", "datastore")},
        }

    @app.post("/infer/{model}", tags=["MONAI Label"])
    def infer(
        model: str,
        image: str = "",
        params: Annotated[str, Form()] = "{}",
        file: Annotated[UploadFile | None, File()] = None,
        label: Annotated[UploadFile | None, File()] = None,
        output: Result = Result.ALL,
    ):
        """Predict the file of a request: a label map, k where the k-th class is.

        Of classes that overlap the later one is seen; `params` tells how many pixels that are.
        """
        if model != task.name:
            raise HTTPException(404, f"{model}: no such model; this server has {task.name}.")
        if file is None:
            named = f"image {image}: " if image else ""
            raise InputError(f"{named}this server keeps no images; send the image as file.")
        if label is not None:
            raise InputError("label: this model takes an image alone.")
        seg = "binary" if output is Result.DICOM_SEG else "none"
        found = predict_uploads(ask, [file], seg, output in (Result.ALL, Result.JSON))
        if output is Result.DICOM_SEG:
            return Response(found.seg, media_type="application/dicom")
        name, content, hidden = merge_masks(found.masks, task)
        about = {"label_names": labels, "overlapping": hidden, "measurements": found.rows}
        if output is Result.JSON:
            return about
        if output is Result.IMAGE:
            return Response(content, media_type="application/octet-stream")
        return encode_form(about, name, content)


def merge_masks(masks, task):
    """One label map of the files of masks that `predict_files` wrote for one image or volume.

    Returns: its name, its content, and the number of pixels that are of several classes.

    Raises: InputError if it cannot be made.
    """
    count = len(task.classes)
    if task.field is not None and not task.exclusive and count > 1:
        raise InputError("The classes of this task overlap in a volume; use /predict for them.")
    if len(masks) > (1 if task.exclusive else count):
        raise InputError("The file holds several frames; send one image.")
    name, content = next(iter(masks.items()))
    if task.field is not None or (task.exclusive and count > 1):  # a label map already
        return name, content, 0
    files = masks.values() if count == 1 else [masks[x] for x in class_files(task)]
    planes = np.stack([np.asarray(Image.open(io.BytesIO(x))) > 0 for x in files], axis=-1)
    labels = (planes * np.arange(1, count + 1, dtype="uint8")).max(axis=-1)
    _, encoded = cv2.imencode(".png", labels)
    return f"{GIVEN}.png", encoded.tobytes(), int((planes.sum(axis=-1) > 1).sum())


def class_files(task):
    """Names of the files of masks of one image, in the order of the classes."""
    return [f"{GIVEN}_{portable(name)}.png" for name in task.classes]


def encode_form(about, name, content):
    """The answer of two parts."""
    limit = uuid.uuid4().hex
    head = "\r\n--{}\r\nContent-Disposition: form-data; {}\r\nContent-Type: {}\r\n\r\n"
    parts = [
        head.format(limit, 'name="params"', "application/json"),
        json.dumps(about),
        head.format(limit, f'name="image"; filename="{name}"', "application/octet-stream"),
    ]
    body = "".join(parts).lstrip().encode() + content + f"\r\n--{limit}--\r\n".encode()
    return Response(body, media_type=f"multipart/form-data; boundary={limit}")
