"""All DICOM files of pydicom and pydicom-data, shown as dcmtk or pydicom shows them, or refused.

    python benchmarks/dicom_files.py

Takes dcmtk (apt-get install dcmtk) and pydicom-data (pip install pydicom-data). Prints the table of
docs/reliability.md. Exit code 1 if a file is shown differently by more than one grey level.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import cv2
import numpy as np
import pydicom
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut

from transfuse_keras.data.dicom import count_frames, open_dicom, read_dicom
from transfuse_keras.data.kinds import is_dicom
from transfuse_keras.errors import InputError

SHOWN = 8  # names of files that are refused for one reason
NAMES = {  # as docs and dcmtk call them
    "JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 [Selection Value 1])": (
        "JPEG Lossless SV1"
    ),
    "JPEG 2000 Image Compression": "JPEG 2000",
    "JPEG 2000 Image Compression (Lossless Only)": "JPEG 2000 Lossless",
    "JPEG-LS Lossless Image Compression": "JPEG-LS",
    "JPEG-LS Lossy (Near-Lossless) Image Compression": "JPEG-LS near-lossless",
    "JPEG Baseline (Process 1)": "JPEG Baseline",
    "JPEG Extended (Process 2 and 4)": "JPEG Extended, 12 bits",
}


def dcmtk(path, dataset):
    """What dcmtk shows of the first frame, without overlays; None if it refuses the file."""
    grey = dataset.PhotometricInterpretation.startswith("MONOCHROME")
    window = ["--use-voi-lut", "1"] if "VOILUTSequence" in dataset else ["--use-window", "1"]
    for options in (window, ["--min-max-window"]) if grey else ([],):
        with tempfile.TemporaryDirectory() as folder:
            picture = f"{folder}/a.png"
            for tool in ("dcm2pnm", "dcmj2pnm"):
                command = [tool, "--write-png", "--no-overlays", *options, str(path), picture]
                if subprocess.run(command, capture_output=True).returncode == 0:
                    shown = cv2.imread(picture, cv2.IMREAD_UNCHANGED)
                    return shown[..., None] if shown.ndim == 2 else shown[..., ::-1]
    return None


def dcmtk_of_decoded(path, dataset):
    """What dcmtk shows of what pydicom has decoded: dcmtk has no JPEG 2000."""
    if not dataset.file_meta.TransferSyntaxUID.is_compressed:
        return None
    with tempfile.TemporaryDirectory() as folder:
        dataset = pydicom.dcmread(path)
        dataset.decompress()
        try:
            dataset.save_as(f"{folder}/a.dcm")
        except TypeError:  # of attributes of unknown form
            return None
        return dcmtk(f"{folder}/a.dcm", dataset)


def pydicom_pipeline(path, dataset):
    """What pydicom's functions give of the first frame, one behind the other, as 8 bits."""
    dataset = pydicom.dcmread(path)
    values = dataset.pixel_array
    values = values[0] if int(dataset.get("NumberOfFrames") or 1) > 1 else values
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        values = apply_color_lut(values, dataset)
        return values >> (8 * values.itemsize - 8)
    if values.ndim == 3:
        return values >> (dataset.BitsStored - 8)
    for group in dataset.get("SharedFunctionalGroupsSequence", ()):
        for name in ("FrameVOILUTSequence", "PixelValueTransformationSequence"):
            dataset.update(group[name][0] if name in group else {})
    values = apply_voi_lut(apply_modality_lut(values, dataset), dataset).astype(float)
    ends = np.array([values.min(), values.max()])
    if "WindowWidth" in dataset:
        ends = apply_voi_lut(np.array([-1e9, 1e9]), dataset)
    shown = np.round(255 * (values - ends[0]) / (np.ptp(ends) or 1))
    return (255 - shown if dataset.PhotometricInterpretation == "MONOCHROME1" else shown)[..., None]


REFERENCES = {
    "dcmtk": dcmtk,
    "dcmtk, decoded by pydicom": dcmtk_of_decoded,
    "pydicom": pydicom_pipeline,
}


def compare(path, shown):
    """The reference that comes closest, and its largest difference in grey levels."""
    dataset, best = pydicom.dcmread(path, stop_before_pixels=True), ("none", np.inf)
    for name, show in REFERENCES.items():
        wanted = show(path, dataset)
        if wanted is not None and wanted.shape == shown.shape:
            difference = int(np.abs(shown.astype(int) - wanted.astype(int)).max())
            best = min(best, (name, difference), key=lambda x: x[1])
        if best[1] <= 1:
            break
    return best


def main():
    warnings.simplefilter("ignore")  # of pydicom, on damaged files
    if not shutil.which("dcm2pnm") or find_spec("data_store") is None:
        sys.exit("Install dcmtk (apt-get install dcmtk) and pydicom-data (pip).")
    folders = {
        "pydicom": Path(pydicom.__file__).parent / "data" / "test_files",
        "pydicom-data": Path(find_spec("data_store").origin).parent / "data",
    }
    shown, refused, others = defaultdict(list), defaultdict(list), 0
    for folder in folders.values():
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            if not is_dicom(path):
                others += 1
                continue
            try:
                image = read_dicom(path, 0 if count_frames(path) > 1 else None)
            except InputError as error:
                reason = str(error).removeprefix(f"{path}: ")
                refused[re.sub(r"[;.]\s.*|\.$", "", reason)].append(path.name)
                continue
            syntax = open_dicom(path).file_meta.TransferSyntaxUID
            reference, difference = compare(path, image)
            key = NAMES.get(syntax.name, syntax.name), reference, difference
            shown[key].append(path.name)
    print("| syntax | files | count | shown as by | largest difference |")
    print("| --- | --- | --: | --- | --: |")
    for (syntax, reference, difference), names in sorted(shown.items()):
        print(f"| {syntax} | {' '.join(names)} | {len(names)} | {reference} | {difference} |")
    print("\n| refused because | files | count |\n| --- | --- | --: |")
    for reason, names in sorted(refused.items()):
        more = " ..." if len(names) > SHOWN else ""
        print(f"| {reason} | {' '.join(names[:SHOWN])}{more} | {len(names)} |")
    count = sum(map(len, shown.values())), sum(map(len, refused.values()))
    print(f"\n{count[0]} files are shown, {count[1]} refused; {others} are not DICOM.")
    return int(any(difference > 1 for _, _, difference in shown))


if __name__ == "__main__":
    sys.exit(main())
