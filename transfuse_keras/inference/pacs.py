"""What a node asks of a DICOMweb server (dicomweb-client): what there is, images, storage."""

from transfuse_keras.errors import Failure, InputError, first_line

STUDY_UID, SERIES_UID, INSTANCE_UID = "0020000D", "0020000E", "00080018"
AS_STORED = (("application/dicom", "*"),)  # the server must not transcode
TIMEOUT = (10, 300)  # seconds to connect, and for an answer: a large SEG takes a server long


def connect_service(url):
    """A client of a DICOMweb service; InputError if the URL or the package cannot be used."""
    try:
        from dicomweb_client import DICOMwebClient
    except ImportError as error:
        raise InputError(
            f"{url}: needs {error.name}: pip install 'transfuse-keras[dicom]'."
        ) from error
    try:
        client = DICOMwebClient(url.rstrip("/"), timeout=TIMEOUT, permissive_uid=True)
    except ValueError as error:
        raise InputError(
            f"{url}: is no URL of a DICOMweb service ({first_line(error)})."
        ) from error
    client.set_http_retry_params(retry=False)  # what fails is tried again later, after the others
    return client


def list_series(client, modalities, since):
    """Set of (StudyInstanceUID, SeriesInstanceUID) of modalities, of a date or later."""
    found = set()
    for modality in modalities:
        of_kind = {"ModalitiesInStudy": modality, "StudyDate": f"{since:%Y%m%d}-"}
        for study in search(client.search_for_studies, STUDY_UID, **of_kind):
            uids = search(client.search_for_series, SERIES_UID, study, Modality=modality)
            found |= {(study, uid) for uid in uids}
    return found


def list_instances(client, study, series):
    """The SOPInstanceUIDs of a series, a set."""
    return search(client.search_for_instances, INSTANCE_UID, study, series)


def list_stored(client, study, series):
    """The SOPInstanceUIDs in those of some series that the study has, a set."""
    there = search(client.search_for_series, SERIES_UID, study)
    return {uid for name in there & set(series) for uid in list_instances(client, study, name)}


def search(ask, tag, *path, **filters):
    """All UIDs that a search finds. Servers answer in pages; Orthanc, asked for modalities of
    studies, gives the first one again, whatever the offset."""
    found, page = set(), True
    while page:
        items = ask(*path, search_filters=filters, offset=len(found))
        page = {value(item, tag) for item in items} - found
        found |= page
    return found


def value(item, tag):
    """The first value of an attribute in DICOM JSON."""
    return item[tag]["Value"][0]


def fetch_instances(client, study, series, instances, folder):
    """Write instances as files, named by their UIDs."""
    for uid in instances:
        image = client.retrieve_instance(study, series, uid, media_types=AS_STORED)
        image.save_as(folder / f"{uid}.dcm", enforce_file_format=True)


def store(client, study, made):
    """Store a Dataset; Failure if the server refuses it."""
    answer = client.store_instances([made], study)
    if answer.get("FailedSOPSequence"):
        reason = answer.FailedSOPSequence[0].get("FailureReason")
        raise Failure(f"the server does not store its {made.Modality} (reason {reason}).")


def got_no_answer(error):
    """Whether an exception says that the server was not reached or did not answer."""
    return isinstance(error, OSError) and getattr(error, "response", None) is None
