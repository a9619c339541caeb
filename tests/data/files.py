"""Small data sets on disk, one function for each layout."""

import json

import cv2
import nibabel
import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

SIZE = (30, 40)


def picture(number):
    """A smooth RGB image that is like no other number's."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.stack([6 * x, 8 * y, np.full(SIZE, (37 * number) % 251)], axis=-1).astype("uint8")


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array[..., ::-1] if array.ndim == 3 else array)


def disc(value=255, radius=8, center=(15, 20)):
    """A filled disc as uint8 (30, 40)."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    inside = (y - center[0]) ** 2 + (x - center[1]) ** 2 <= radius**2
    return np.where(inside, value, 0).astype("uint8")


def rows_of_labels(count=3):
    """A label map: label k is a row of 4 pixels' height."""
    labels = np.zeros(SIZE, "uint8")
    for label in range(1, count + 1):
        labels[8 * label : 8 * label + 4] = label
    return labels


def binary_folder(folder, stems, images="images", masks="masks", suffix="png", start=0):
    """Images and 0/255 masks of one class."""
    for number, stem in enumerate(stems, start):
        save(folder / images / f"{stem}.{suffix}", picture(number))
        save(folder / masks / f"{stem}.{suffix}", disc(radius=5 + number % 7))
    return folder


def hip_folder(folder, patients=6):
    """Patients with two slices each and label maps."""
    for number in range(2 * patients):
        stem = f"p{number // 2}_s{number % 2}"
        save(folder / "images" / f"{stem}.png", picture(number))
        save(folder / "masks" / f"{stem}.png", rows_of_labels())
    return folder


def body_folder(folder):
    """Grey images of 80x60 pixels: a body, and an organ on either side of it, one in two images."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:60, :80]
    for number in range(40):
        labels = np.zeros((60, 80), "uint8")
        dy, dx = rng.integers(-2, 3, 2)
        for label, (row, column, radius) in enumerate(((30, 40, 12), (40, 12, 6), (40, 67, 6)), 1):
            if label == 1 or number % 2:
                labels[(y - row - dy) ** 2 + (x - column - dx) ** 2 <= radius**2] = label
        grey = (40 * labels + rng.integers(0, 30, labels.shape)).astype("uint8")
        save(folder / "images" / f"p{number // 4}_{number % 4}.png", grey)
        save(folder / "masks" / f"p{number // 4}_{number % 4}.png", labels)
    return folder


def decathlon_folder(folder, count=6, channels=2, spacing=(1.0, 0.8, 3.0), names=("PZ", "TZ")):
    """Volumes (24, 20, 5[, channels]) with two nested blocks; volumes are shifted by number."""
    rng = np.random.default_rng(0)
    affine = np.diag([*spacing, 1.0]) + np.array([[0, 0, 0, 5.0]] * 3 + [[0] * 4])
    shape = (24, 20, 5, channels) if channels > 1 else (24, 20, 5)
    entries = []
    for number in range(count):
        labels = np.zeros((24, 20, 5), "uint8")
        labels[6 + number % 3 : 18, 5:15, 1:4] = 1
        labels[9:13, 8:12, 1:4] = 2
        values = rng.normal(100, 5, shape) + 40 * labels.reshape(
            *labels.shape, *[1] * (len(shape) - 3)
        )
        name = f"case_{number:02}.nii.gz"
        for part, array in (("imagesTr", values.astype("float32")), ("labelsTr", labels)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(array, affine), folder / part / name)
        entries.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    labels = {"0": "background", **{str(k): name for k, name in enumerate(names, 1)}}
    description = {"labels": labels, "training": entries, "test": []}
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def series_folder(folder, count=6, step=3.0, normal=1):
    """A CT series of (40, 32) pixels with a bright block, in files named in another order than
    they lie. Returns: its values int16 (D, H, W) from the lowest slice on."""
    values = np.random.default_rng(0).integers(-1000, -900, (count, 40, 32)).astype("int16")
    values[1:-1, 10:25, 5:20] = 300
    folder.mkdir(parents=True, exist_ok=True)
    study, series, frame = (generate_uid() for _ in range(3))
    for k in range(count):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = (
            ExplicitVRLittleEndian,
            CTImageStorage,
        )
        meta.MediaStorageSOPInstanceUID = generate_uid()
        dicom = FileDataset("", {}, b"\0" * 128, meta)
        dicom.SOPClassUID, dicom.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        dicom.StudyInstanceUID, dicom.SeriesInstanceUID, dicom.Modality = study, series, "CT"
        dicom.FrameOfReferenceUID, dicom.SliceThickness = frame, step
        dicom.Rows, dicom.Columns, dicom.PixelSpacing = 40, 32, [0.9, 0.7]
        dicom.ImageOrientationPatient = [1, 0, 0, 0, normal, 0]
        dicom.ImagePositionPatient = [-10.5, 20.25, normal * (step * k - 40)]
        dicom.SamplesPerPixel, dicom.PhotometricInterpretation = 1, "MONOCHROME2"
        dicom.BitsAllocated = dicom.BitsStored = 16
        dicom.HighBit, dicom.PixelRepresentation = 15, 1
        dicom.RescaleSlope, dicom.RescaleIntercept = 1, -24
        dicom.PixelData = (values[k] + 24).astype("int16").tobytes()
        dicom.save_as(folder / f"IM{(7 * k) % count:03}", enforce_file_format=True)
    return values


def dicom_image(path, pixels, **attributes):
    """A radiograph of uint8 (H, W), or an ultrasound cine of (F, H, W, 3), with a patient."""
    cine = pixels.ndim == 4
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    kind = UltrasoundMultiFrameImageStorage if cine else DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, generate_uid()
    dicom = FileDataset("", {}, b"\0" * 128, meta)
    dicom.SOPClassUID, dicom.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    dicom.StudyInstanceUID, dicom.SeriesInstanceUID = generate_uid(), generate_uid()
    dicom.Modality, dicom.PatientID, dicom.PatientName = "US" if cine else "DX", "17", "Doe^Jane"
    dicom.PatientBirthDate, dicom.PatientSex = "19701231", "F"
    dicom.StudyDate, dicom.StudyTime, dicom.StudyID = "20260102", "101112", "S1"
    dicom.AccessionNumber, dicom.ReferringPhysicianName = "A1", None
    dicom.SeriesNumber, dicom.InstanceNumber = 3, 4
    dicom.Rows, dicom.Columns = pixels.shape[1:3] if cine else pixels.shape
    dicom.SamplesPerPixel, dicom.PhotometricInterpretation = (
        (3, "RGB") if cine else (1, "MONOCHROME2")
    )
    if cine:
        dicom.NumberOfFrames, dicom.PlanarConfiguration = len(pixels), 0
    else:
        dicom.WindowCenter, dicom.WindowWidth, dicom.PatientOrientation = 128, 256, ["L", "F"]
    dicom.BitsAllocated = dicom.BitsStored = 8
    dicom.HighBit, dicom.PixelRepresentation = 7, 0
    dicom.PixelData = pixels.tobytes()
    for name, value in attributes.items():
        setattr(dicom, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dicom.save_as(path, enforce_file_format=True)
    return dicom


def enhanced_image(path, pixels, places):
    """An enhanced MR image of uint8 (F, H, W), 0.5 x 0.25 mm a pixel, whose frames lie at these
    ImagePositionPatient, or at None."""
    image = dicom_image(path, pixels[0], NumberOfFrames=len(pixels), Modality="MR")
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    image.FrameOfReferenceUID, image.ImageType = generate_uid(), ["ORIGINAL", "PRIMARY", "M"]

    def item(**attributes):
        made = Dataset()
        for name, value in attributes.items():
            setattr(made, name, value)
        return made

    image.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=[item(PixelSpacing=[0.5, 0.25], SliceThickness=3)],
            PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
            FrameVOILUTSequence=[item(WindowCenter=128, WindowWidth=256)],
        )
    ]
    image.PerFrameFunctionalGroupsSequence = [
        item(FrameContentSequence=[item(StackID="1", InStackPositionNumber=k)])
        for k in range(1, len(pixels) + 1)
    ]
    for group, place in zip(image.PerFrameFunctionalGroupsSequence, places, strict=True):
        if place is not None:
            group.PlanePositionSequence = [item(ImagePositionPatient=place)]
    image.PixelData = pixels.tobytes()
    image.save_as(path)
    return image
