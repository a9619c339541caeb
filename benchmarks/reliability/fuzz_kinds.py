"""What is damaged and what reads it, for each kind of file."""

import contextlib
import gzip
import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from benchmarks.reliability import fuzz_hostile as hostile
from benchmarks.reliability import fuzz_hostile_weights as hostile_weights
from benchmarks.reliability import fuzz_seeds as seeds
from benchmarks.reliability.fuzz_arguments import argument_list, make_places
from benchmarks.reliability.fuzz_mutations import mutate, mutate_inside, mutate_json
from transfuse_keras import cli
from transfuse_keras.data.dicom import dicom_header, read_dicom
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.readers import read_image, read_masks
from transfuse_keras.data.volumes import read_slices, read_volume
from transfuse_keras.errors import InputError
from transfuse_keras.evaluation.compare import compare
from transfuse_keras.evaluation.report import write_report
from transfuse_keras.inference.predictor import load_predictor
from transfuse_keras.model.initial_weights import load_h5
from transfuse_keras.model.load import load_model
from transfuse_keras.runs.metadata import known_task, read_metadata, update_thresholds
from transfuse_keras.tasks import Task, hip, prostate
from transfuse_keras.weights import load_timm
from transfuse_keras.weights.readers import read_tensors


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: of the file that is read, or a function to {name: content} of a folder's files.
        seeds: function to a list of valid contents; None for a folder.
        readers: functions of a path; each must accept, or refuse in one sentence. A file that one
            accepts counts as accepted; a folder, of which each reads other files, if all do.
        hostile: function to a list of hand-made contents.
        damage: function of mutations.
        share: of the number of cases, for what takes long.
    """

    name: str | Callable
    seeds: Callable | None
    readers: tuple
    hostile: Callable = list
    damage: Callable = mutate
    share: float = 1.0


class Target:
    """A toy branch that weights are loaded into; a refused file must leave it unchanged."""

    def __init__(self, load):
        self.load, self.branch = load, None

    def __call__(self, path):
        self.branch = self.branch or seeds.toy_branch()
        before = self.branch.get_weights()
        try:
            self.load(self.branch, path)
        except ValueError as error:
            same = all(map(np.array_equal, before, self.branch.get_weights()))
            if not same and path.suffix != ".h5":
                raise AssertionError(f"half loaded: {error}") from error
            if isinstance(error, UnicodeError):
                raise AssertionError("no sentence of ours") from error
            raise InputError(str(error)) from error
        self.branch.set_weights(before)


def tensors(path):
    try:
        read_tensors(path)
    except ValueError as error:
        raise InputError(str(error)) from error


def masks(path):
    read_masks((path,), ("a",))


def labels(path):
    read_masks((path,), ("a", "b"))


def volume(path):
    read_volume([path], path, ("a",), 1, (1,))


def slices(path):
    read_slices([path], 1)


def listing(task, path):
    listed = find_samples(task, path.parent)
    for line in listed.errors:
        if str(path.parent) not in line or "\n" in line:
            raise AssertionError(f"names no file: {line}")


def drawn(path):
    listed = find_samples(Task("a", ("a",)), path.parent)
    for line in listed.errors:
        if str(path.parent) not in line or "\n" in line:
            raise AssertionError(f"names no file: {line}")
    for sample in listed.samples:
        sample.read()
        sample.overlap()


def run_folder(path):
    known_task(path.parent)
    read_metadata(path.parent / "model.onnx")


def run_thresholds(path):
    (path.parent / "model.onnx").touch()  # a whole file that says nothing of itself
    update_thresholds(path.parent, dict.fromkeys(hip.classes, 0.4))


def packed(contents):
    return lambda: [gzip.compress(content) for content in contents()]


PICTURES = (partial(read_image, channels=1), read_image, masks, labels)
VOLUMES = (slices, volume)
WEIGHTS = (Target(load_timm),)
KINDS = {
    "png": Kind("a.png", seeds.png, PICTURES, hostile.hostile_png, mutate_inside),
    "jpeg": Kind("a.jpg", seeds.jpeg, PICTURES, hostile.hostile_jpeg),
    "tiff": Kind("a.tif", seeds.tiff, PICTURES, hostile.hostile_tiff),
    "bmp": Kind("a.bmp", seeds.bmp, PICTURES),
    "nifti": Kind("a.nii", seeds.nifti, VOLUMES, hostile.hostile_nifti),
    "nifti.gz": Kind("a.nii.gz", packed(seeds.nifti), VOLUMES, hostile.packed_nifti, mutate_inside),
    "dicom": Kind("a.dcm", seeds.dicom, (read_dicom, dicom_header), hostile.hostile_dicom),
    "npz": Kind("a.npz", seeds.npz, WEIGHTS, hostile_weights.hostile_npz, mutate_inside),
    "safetensors": Kind(
        "a.safetensors", seeds.safetensors, WEIGHTS, hostile_weights.hostile_safetensors
    ),
    "pth": Kind(
        "a.pth", seeds.pth, (tensors, *WEIGHTS), hostile_weights.hostile_pth, mutate_inside
    ),
    "h5": Kind("a.weights.h5", seeds.h5, (Target(load_h5),)),
    "keras": Kind(
        "a.keras", seeds.own_keras, (load_model,), hostile_weights.hostile_keras, mutate_inside, 0.1
    ),
    "tflite": Kind("a.tflite", seeds.litert, (load_predictor,), share=0.1),
    "onnx": Kind("a.onnx", seeds.onnx, (load_predictor,), share=0.1),
    "run": Kind(
        seeds.run_files,
        None,
        (run_folder, run_thresholds, lambda path: compare(path.parent, path.parent)),
        lambda: [hostile.DEEP],
        mutate_json,
    ),
    "report": Kind(
        seeds.run_files,
        None,
        (lambda path: write_report(path.parent),),
        damage=mutate_json,
        share=0.2,
    ),
    "folder": Kind(seeds.folder_files, None, (partial(listing, hip),)),
    "decathlon": Kind(
        seeds.decathlon_files,
        None,
        (partial(listing, prostate),),
        lambda: [hostile.DEEP],
        mutate_json,
    ),
    "coco": Kind("a.json", seeds.coco, (drawn,), lambda: [hostile.DEEP], mutate_json),
    "labelme": Kind("a.json", seeds.labelme, (drawn,), lambda: [hostile.DEEP], mutate_json),
    "cvat": Kind("a.xml", seeds.cvat, (drawn,)),
    "arguments": Kind("", None, ()),
}


class Prepared:
    """A kind with its seeds made: `write` a case, then `run` it."""

    def __init__(self, kind):
        self.kind = kind
        self.folders = [kind.name()] if callable(kind.name) else []
        self.folders += [{kind.name: content} for content in (kind.seeds or list)()]
        self.hostile = kind.hostile()
        self.path = None

    def write(self, rng, case, folder):
        """Write the files of a case; those of the last one go."""
        folder = folder / "case"
        shutil.rmtree(folder, ignore_errors=True)
        self.make_others(folder)
        files = self.folders[rng.integers(len(self.folders))]
        name = sorted(files)[rng.integers(len(files))]
        if case < len(self.hostile):
            content = self.hostile[case]
        else:
            others = [other for seeds in self.folders for other in seeds.values()]
            table = self.kind.damage is mutate_json and not is_json(name)
            content = (mutate if table else self.kind.damage)(rng, files[name], others)
        for other, valid in files.items():
            (folder / other).write_bytes(content if other == name else valid)
        self.path = folder / name

    def make_others(self, folder):
        """What a folder needs besides the files that are damaged."""
        for name in ("images", "masks", "imagesTr", "labelsTr"):
            (folder / name).mkdir(parents=True)
        Image.fromarray(seeds.grey()).save(folder / "images" / "a.png")
        if "groups.csv" in self.folders[0]:
            for stem in "abcdef":
                for part in ("images", "masks"):
                    Image.fromarray(seeds.grey()).save(folder / part / f"{stem}.png")
        if "dataset.json" in self.folders[0]:
            for part in ("imagesTr", "labelsTr"):
                (folder / part / "a.nii").write_bytes(seeds.nifti()[0])

    def run(self):
        """Read the case; raises a refusal if it counts as refused, and any failure."""
        refusals = []
        for read in self.kind.readers:
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    read(self.path)
            except (InputError, OSError) as error:
                if str(self.path.parent) not in str(error):
                    raise AssertionError(f"names no file: {error}") from error
                refusals.append(error)
        if len(refusals) >= (len(self.kind.readers) if self.kind.seeds else 1):
            raise refusals[-1]
        return self.path


def is_json(name):
    return name.endswith(".json")


class Arguments:
    """Argument lists for the command line, in a folder of wrong files."""

    def write(self, rng, case, folder):
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        make_places(folder)
        self.arguments = argument_list(rng, cli.parser())

    def run(self):
        """Raises InputError with what is said on stderr if the exit code is 2."""
        said = io.StringIO()
        printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # refuses what a terminal does
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
            try:
                code = cli.main(self.arguments)
            except SystemExit as stop:
                code = stop.code
            except BaseException as error:
                raise AssertionError(
                    f"{self.arguments}: {type(error).__name__}: {error}"
                ) from error
        text = said.getvalue()
        lines = text.strip().splitlines()
        if code not in (0, 1, 2) or "Traceback" in text or (code == 2 and len(lines) != 1):
            raise AssertionError(f"{self.arguments}: code {code}: {text}")
        if code == 2:
            raise InputError(text)


def prepare(kind):
    return Arguments() if kind == "arguments" else Prepared(KINDS[kind])
