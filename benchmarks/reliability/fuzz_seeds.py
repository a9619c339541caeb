"""Small valid files of every kind that is read, to be damaged."""

import base64
import csv
import io
import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import nibabel
import numpy as np
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)
from safetensors.numpy import save

from benchmarks.reliability.child import SMALLEST, SMALLEST_UNET
from transfuse_keras.export.litert import export_litert
from transfuse_keras.export.onnx_files import export_onnx
from transfuse_keras.model.transfuse import TransFuse
from transfuse_keras.tasks import hip
from transfuse_keras.weights.assign import torch_layout
from transfuse_keras.weights.timm import timm_names

SIZE = (24, 32)


def grey():
    """A disc, 0/255: an image and a mask."""
    y, x = np.indices(SIZE)
    return np.where((y - 12) ** 2 + (x - 16) ** 2 < 64, 255, 0).astype("uint8")


def encoded(picture, form, **settings):
    file = io.BytesIO()
    picture.save(file, form, **settings)
    return file.getvalue()


def png():
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype="uint8")
    pictures = [
        Image.fromarray(grey()),
        Image.fromarray(noise),
        Image.fromarray(grey().astype("uint16") * 16),
        Image.fromarray(grey()).convert("P"),
    ]
    return [encoded(picture, "PNG") for picture in pictures]


def jpeg():
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(grey())
    return [
        encoded(picture, "JPEG"),
        encoded(picture.convert("RGB"), "JPEG", exif=exif, progressive=True),
    ]


def tiff():
    picture, deep = Image.fromarray(grey()), Image.fromarray(grey().astype("float32") / 255)
    return [
        encoded(picture, "TIFF"),
        encoded(picture.convert("RGB"), "TIFF", compression="tiff_lzw"),
        encoded(deep, "TIFF", compression="tiff_adobe_deflate"),
    ]


def bmp():
    return [encoded(Image.fromarray(grey()), "BMP")]


def nifti():
    values = np.stack([grey() // 255] * 4, axis=-1)
    return [
        nibabel.Nifti1Image(array, np.diag([0.8, 0.8, 3, 1])).to_bytes()
        for array in (values, values.astype("float32"), values[..., None].astype("int16"))
    ]


def dicom():
    values = grey().astype("uint16")
    compressed = (RLELossless, JPEGLSLossless, DeflatedExplicitVRLittleEndian)
    return [
        dicom_file(values),
        dicom_file(values, [0.2, 0.2]),
        *(dicom_file(values, syntax=syntax) for syntax in compressed),
    ]


def dicom_file(values, spacing=None, syntax=ExplicitVRLittleEndian, **tags):
    """A radiograph; keyword arguments are DICOM attributes."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    content = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    content.Rows, content.Columns = values.shape
    content.SamplesPerPixel, content.PhotometricInterpretation = 1, "MONOCHROME2"
    content.BitsAllocated, content.BitsStored, content.HighBit = 16, 12, 11
    content.PixelRepresentation, content.PatientID = 0, "p1"
    content.WindowCenter, content.WindowWidth = 100, 200
    content.RescaleSlope, content.RescaleIntercept = 1, 0
    if spacing:
        content.PixelSpacing = spacing
    content.PixelData = values.tobytes()
    for name, value in tags.items():
        setattr(content, name, value)
    if syntax.is_compressed and not syntax.is_deflated:
        content.compress(syntax)
    else:
        content.file_meta.TransferSyntaxUID = syntax
    file = io.BytesIO()
    content.save_as(file)
    return file.getvalue()


def toy_branch():
    """A branch with a convolution, a norm and a dense layer under timm's names."""
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, use_bias=False, name="conv1")(image)
    x = keras.layers.BatchNormalization(name="bn1")(x)
    return keras.Model(image, keras.layers.Dense(2, name="dense")(x), name="cnn")


def state():
    """The tensors of `toy_branch` as PyTorch has them."""
    names = timm_names(toy_branch())
    return {name: torch_layout(name, np.asarray(value)) for name, value in names.items()}


def npz():
    files = io.BytesIO(), io.BytesIO()
    np.savez(files[0], **state())
    np.savez_compressed(files[1], **{f"module.{name}": x for name, x in state().items()})
    return [file.getvalue() for file in files]


def safetensors():
    return [save(state())]


def pth():
    """Files that PyTorch wrote, in its newer and its older form; the branch has no such tensors."""
    folder = Path(__file__).parents[2] / "tests" / "fixtures"
    return [(folder / f"torch_{form}.pth").read_bytes() for form in ("zip", "stream")]


def smallest():
    return TransFuse(SMALLEST, (32, 32, 3))


def written(write, name):
    """The content of the file that `write` makes."""
    with TemporaryDirectory() as folder:
        write(Path(folder, name))
        return [Path(folder, name).read_bytes()]


@cache
def own_keras():
    return written(smallest().save, "model.keras")


def h5():
    return written(toy_branch().save_weights, "toy.weights.h5")


def smallest_unet():
    """For files of other runtimes, in which only bytes are damaged: they are written sooner."""
    return TransFuse(SMALLEST_UNET, (32, 32, 3))


def litert():
    return written(lambda path: export_litert(smallest_unet(), path), "model.tflite")


def onnx():
    return written(lambda path: export_onnx(smallest_unet(), path), "model.onnx")


def table(*rows):
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def run_files():
    """The files of a run folder that commands read back, by name."""
    scores = {"dice": 0.5, "iou": 0.4}
    metrics = {
        **{"task": "hip", "data": "phantom", "variant": "Ti", "protocol": "mean", "n": 1},
        **{"mean": scores, "classes": dict.fromkeys(hip.classes, scores)},
        "calibration": {"pelvis": {"ece": 0.1, "bins": [bin_of(0.5)]}},
        **{"paper": hip.paper, "seconds_per_case": 0.1},
    }
    thresholds = dict.fromkeys(hip.classes, 0.5)
    sidecar = {
        **{
            "task": "hip",
            "classes": hip.classes,
            "thresholds": [0.5] * 3,
            "input": {"channels": 3},
        },
        **{"exclusive": False, "mirror_pairs": hip.mirror_pairs, "field": None, "flips": ""},
        "protocols": hip.protocols,
    }
    config = {"task": asdict(hip), "data": "phantom", "recipe": asdict(hip.recipe), "seed": 0}
    documents = {
        "config.json": config,
        "threshold.json": {"thresholds": thresholds, "chosen": "given"},
        "metrics.json": metrics,
        "model.onnx.json": sidecar,
        "export.json": {"model.onnx": {"largest_difference": 1e-6}},
    }
    cases = [
        ["case", "group", "class", "truth_empty", "prediction_empty", "dice", "iou"],
        *(["a", "g", name, "False", "False", "0.5", "0.4"] for name in hip.classes),
    ]
    return {name: json.dumps(content).encode() for name, content in documents.items()} | {
        "cases.csv": table(*cases),
        "history.csv": table(["epoch", "loss", "val_loss"], ["1", "0.5", "0.6"]),
        "split.csv": table(["split", "group", "sample"], ["test", "a", "a"]),
    }


def bin_of(confidence):
    return {"confidence": confidence, "frequency": confidence, "count": 10}


def folder_files():
    """The small files beside the images of a data set, by name."""
    stems = "abcdef"
    return {
        "groups.csv": table(["stem", "group"], *([x, f"g{x}"] for x in stems)),
        "spacing.csv": table(["stem", "mm"], *([x, "0.2"] for x in stems)),
        "split_train.txt": b"a\nb\nc\n",
        "split_test.txt": b"d\ne\nf\n",
    }


def decathlon_files():
    entry = {"image": "./imagesTr/a.nii", "label": "./labelsTr/a.nii"}
    labels = {"0": "background", "1": "PZ", "2": "TZ"}
    return {"dataset.json": json.dumps({"labels": labels, "training": [entry]}).encode()}


def coco():
    height, width = SIZE
    image = {"id": 1, "file_name": "a.png", "height": height, "width": width}
    shapes = (
        [[4, 4, 20, 4, 20, 12.5, 4, 12.5]],
        {"size": SIZE, "counts": [100, 20, height * width - 120]},
        {"size": SIZE, "counts": "l35c000000000000l>"},
    )
    objects = [
        {"id": k, "image_id": 1, "category_id": 1, "segmentation": shape, "iscrowd": 0}
        for k, shape in enumerate(shapes)
    ]
    categories = [{"id": 1, "name": "a", "supercategory": "b"}]
    content = {"images": [image], "annotations": objects, "categories": categories}
    return [json.dumps(content).encode()]


def labelme():
    picture = base64.b64encode(encoded(Image.fromarray(grey()), "PNG")).decode()
    shapes = [
        {"label": "a", "shape_type": kind, "points": points, "mask": mask}
        for kind, points, mask in (
            ("polygon", [[1, 1], [20, 3], [9, 19]], None),
            ("circle", [[9, 9], [12, 12]], None),
            ("mask", [[2, 2], [33, 25]], picture),
        )
    ]
    content = {"imagePath": "b.png", "imageData": picture, "shapes": shapes}
    return [json.dumps(content | {"imageHeight": SIZE[0], "imageWidth": SIZE[1]}).encode()]


def cvat():
    return [
        b"""<?xml version="1.0" encoding="utf-8"?>
<annotations><meta><task><labels><label><name>a</name></label></labels></task></meta>
<image id="0" name="a.png" width="32" height="24">
<polygon label="a" points="1.5,2.5;20,3;9,19" z_order="1"/>
<box label="a" xtl="3" ytl="4" xbr="9" ybr="8" rotation="30"/>
<ellipse label="a" cx="9" cy="9" rx="4" ry="2" rotation="9"/>
<mask label="a" left="2" top="3" width="4" height="2" rle="1, 2, 5"/>
</image></annotations>"""
    ]
