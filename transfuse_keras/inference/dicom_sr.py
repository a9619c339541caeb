"""Areas and diameters as DICOM SR (TID 1500, highdicom), beside the SEG of what is measured."""

from transfuse_keras import __version__
from transfuse_keras.data.quiet import reading
from transfuse_keras.files import replacing
from transfuse_keras.inference.dicom_header import complete, number_series
from transfuse_keras.inference.dicom_seg import (
    PRIVATE,
    SOFTWARE,
    derive_uid,
    making,
    pad_terms,
)
from transfuse_keras.inference.measurements import DIGITS, find_scale
from transfuse_keras.metrics.sizes import measure_plane

# says of a measurement that it is larger than what it is of
AT_DETECTOR = ("at-detector", PRIVATE, "At the detector, not corrected for magnification")


def save_report(path, headers, seg, masks, task, origin):
    """Write a DICOM SR with the sizes of every structure in every frame or slice.

    Args:
        path: the file to write.
        headers: of the images, as of `save_segmentation`.
        seg: what `save_segmentation` gave of them.
        masks: 0/1 (F, H, W, M), in the order of the headers or frames.
        task: Task.
        origin: as of `compute_origin`.

    Raises: InputError if no SR can be made.
    """
    with reading():
        with making("DICOM SR", headers[0], path, "leave --sr out"):
            made = make_report(path, headers, seg, masks, task, origin)
        with replacing(path) as temporary:
            made.save_as(temporary)


def make_report(path, headers, seg, masks, task, origin):
    """The SR as a highdicom ComprehensiveSR; arguments as of `save_report`."""
    from highdicom.sr import ComprehensiveSR, MeasurementReport
    from pydicom.sr.codedict import codes

    where = getattr(headers[0], "filename", None) or path
    if len(headers) == 1:
        scales = [find_scale(headers[0], where, frame) for frame in range(len(masks))]
    else:
        scales = [find_scale(headers[0], where)] * len(headers)
    headers = [complete(header, task) for header in headers]
    places = {header.SOPInstanceUID: number for number, header in enumerate(headers)}
    report = MeasurementReport(
        observation_context=describe_observer(task, origin),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=list(list_groups(seg, masks, places, scales, task)),
    )
    return ComprehensiveSR(
        evidence=[*headers, seg],
        content=report[0],
        series_instance_uid=derive_report_series_uid(headers[0].SeriesInstanceUID, origin),
        series_number=number_series(headers[0], 2000),
        sop_instance_uid=derive_report_uid(seg.SOPInstanceUID),
        instance_number=int(seg.InstanceNumber),
        manufacturer=SOFTWARE,
        is_complete=True,
        series_description=f"{SOFTWARE} {task.name}"[:64],
    )


def derive_report_uid(segmentation):
    """The SOPInstanceUID of the SR beside the SEG whose own is `segmentation`."""
    return derive_uid("SR", segmentation)


def derive_report_series_uid(series, origin):
    """The SeriesInstanceUID of the SRs of a series, whose own is `series`."""
    return derive_uid("SR series", series, origin)


def describe_observer(task, origin):
    """The TID 1001: it was this software that looked, no person."""
    from highdicom.sr import (
        DeviceObserverIdentifyingAttributes,
        ObservationContext,
        ObserverContext,
    )
    from pydicom.sr.codedict import codes

    device = DeviceObserverIdentifyingAttributes(
        uid=derive_uid("device", origin),
        name=f"{SOFTWARE} {__version__}",
        manufacturer_name=SOFTWARE,
        model_name=task.name,
        serial_number=origin[:16],
    )
    return ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device))


def list_groups(seg, masks, places, scales, task):
    """A TID 1410 for every frame of a SEG that shows its class, and for a class that no frame shows
    a TID 1501 with the area 0.

    Args:
        seg, masks, task: as of `save_report`.
        places: SOPInstanceUID of an image -> its place in `masks`.
        scales: as of `find_scale`, of each place.
    """
    from highdicom.sr import (
        MeasurementsAndQualitativeEvaluations,
        PlanarROIMeasurementsAndQualitativeEvaluations,
        ReferencedSegmentationFrame,
        SourceImageForSegmentation,
        TrackingIdentifier,
    )

    shared = seg.SharedFunctionalGroupsSequence[0].get("SegmentIdentificationSequence")
    for index, group in enumerate(seg.PerFrameFunctionalGroupsSequence, 1):
        k = (shared or group.SegmentIdentificationSequence)[0].ReferencedSegmentNumber - 1
        (source,) = group.DerivationImageSequence[0].SourceImageSequence
        number = source.get("ReferencedFrameNumber")  # of a file with several frames
        image = source.ReferencedSOPInstanceUID
        place = places[image] if number is None else int(number) - 1
        sizes = measure_plane(masks[place, ..., k], scales[place][1] or (1.0, 1.0))
        if not sizes["parts"]:
            continue
        shown = ReferencedSegmentationFrame(
            *(seg.SOPClassUID, seg.SOPInstanceUID, index, k + 1),
            SourceImageForSegmentation(
                *(source.ReferencedSOPClassUID, image),
                None if number is None else [int(number)],
            ),
        )
        # the standard forbids it beside the number of a frame
        del shown[0].ReferencedSOPSequence[0].ReferencedSegmentNumber
        yield PlanarROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=TrackingIdentifier(
                derive_uid("structure", seg.SOPInstanceUID, str(index)),
                f"{task.classes[k]} {place + 1}",
            ),
            referenced_segment=shown,
            measurements=describe_sizes(sizes, *scales[place]),
            **describe_class(task, task.classes[k]),
        )
    for k, name in enumerate(task.classes):
        if not masks[..., k].any():
            yield MeasurementsAndQualitativeEvaluations(
                tracking_identifier=TrackingIdentifier(
                    derive_uid("no structure", seg.SOPInstanceUID, name), name
                ),
                measurements=describe_sizes({"area": 0.0}, *scales[0]),
                **describe_class(task, name),
            )


def describe_class(task, name):
    """What is measured, and by what, as arguments of a TID 1410 or 1501."""
    from highdicom.sr import AlgorithmIdentification, CodedConcept

    kind, category, _ = pad_terms(task, name)
    return {
        "finding_type": CodedConcept(*kind),
        "finding_category": CodedConcept(*category),
        "algorithm_id": AlgorithmIdentification(SOFTWARE, __version__),
    }


def describe_sizes(sizes, scale, pixel):
    """The TID 300 of area, longest and perpendicular diameter; `scale` and `pixel` as of
    `find_scale`."""
    from highdicom.sr import CodedConcept, Measurement
    from pydicom.sr.codedict import codes

    area = length = CodedConcept("{pixels}", "UCUM", "pixels")
    if pixel:
        area, length = codes.UCUM.SquareMillimeter, codes.UCUM.Millimeter
    method = CodedConcept(*AT_DETECTOR) if scale == "ImagerPixelSpacing" else None
    found = (
        (codes.SCT.Area, "area", area),
        (codes.SCT.LongAxis, "longest", length),
        (codes.SCT.ShortAxis, "perpendicular", length),
    )
    return [
        Measurement(name=name, value=round(sizes[size], DIGITS), unit=unit, method=method)
        for name, size, unit in found
        if size in sizes
    ]
