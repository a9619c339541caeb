"""A node of a hospital: new studies of a DICOMweb server are predicted, their SEG is stored there.

The server is the only memory. The UIDs of a SEG follow from its images and the model, so whether
something is done is a question to the server, and the same work done twice is the same object.
Nothing is lost or doubled when the process is killed, or the connection breaks, at any moment.
"""

import logging
import os
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from transfuse_keras.errors import Failure, InputError, first_line, quantity
from transfuse_keras.inference import pacs
from transfuse_keras.inference.dicom_seg import (
    derive_segmentation_uid,
    derive_series_uid,
    import_highdicom,
)
from transfuse_keras.inference.dicom_sr import derive_report_series_uid, derive_report_uid
from transfuse_keras.inference.predict_files import (
    describe_origin,
    load_members,
    predict_files,
    settle,
)
from transfuse_keras.tasks.task import Task

log = logging.getLogger(__name__)

LONGEST_PAUSE = 3600  # seconds
FOLDER = "transfuse-node-"  # begins the name of where images lie while they are predicted


def watch(
    model_path,
    url,
    modalities,
    task=None,
    threshold=None,
    sr=False,
    once=False,
    days=2,
    interval=60,
):
    """Predict all that is new on a server, for ever or once.

    Args:
        model_path, task, threshold: as of `predict_files`.
        url: of the DICOMweb service, as "http://pacs:8042/dicom-web".
        modalities: of the series that are predicted, as ["DX", "CR"].
        sr: whether to store a DICOM SR of sizes with each SEG.
        once: go through the studies one time, and wait for nothing.
        days: studies of so many days are looked at, today's among them.
        interval: seconds between two looks.

    Returns: how many series could not be done; only with `once`.

    Raises: InputError if an argument or a package cannot be used, and with `once` Failure if the
    server cannot be asked for studies.
    """
    if days < 1 or interval <= 0:
        raise InputError(f"--days and --interval are above 0, not {days} and {interval}.")
    import_highdicom()
    client = pacs.connect_service(url)
    members = model_path if isinstance(model_path, list) else [model_path]
    task, threshold, flips = settle(members, task, threshold)
    origin = describe_origin(members, task, threshold, flips, False, "binary")
    job = {"model_path": members, "threshold": threshold, "flips": flips, "task": task}
    job |= {"overlays": False, "seg": "binary", "sr": sr}
    job["predictors"] = load_members(members, None, None, task)
    remove_dead_folders()
    node = Node(client, task, origin, sr, job)
    looked, unanswered = date.today(), 0
    log.info(f"Asking {url} for {', '.join(modalities)} of the last {quantity(days, 'day')}.")
    while True:
        today = date.today()
        # what came while the server could not be asked is found, however long that was
        since = looked - timedelta(days=days - 1)
        try:
            found = pacs.list_series(client, modalities, since)
            looked, unanswered = today, 0
        except Exception as error:  # whatever a server may answer
            reason = f"{url}: cannot be asked for studies ({first_line(error)})"
            if once:
                raise Failure(f"{reason}.") from error
            unanswered += 1
            log.error(f"{reason}; tried again in {pause(interval, unanswered):g} s.")
        else:
            node.look(found, None if once else interval)
        if once:
            return len(node.failed)
        time.sleep(pause(interval, unanswered))


def remove_dead_folders():
    """Remove the images of nodes that were killed; those of others that run stay."""
    import psutil

    for path in Path(tempfile.gettempdir()).glob(f"{FOLDER}*-*"):
        process = path.name.removeprefix(FOLDER).partition("-")[0]
        if not process.isdigit():  # not a node's
            continue
        # in a container the number of the process is always the same
        if int(process) == os.getpid() or not psutil.pid_exists(int(process)):
            shutil.rmtree(path, ignore_errors=True)


def pause(interval, failures):
    """Seconds until the next look or try: doubled after each failure, up to LONGEST_PAUSE."""
    return max(interval, min(interval * 2 ** min(failures, 12), LONGEST_PAUSE))


@dataclass
class Node:
    """What is known of a server between two looks; none of it is needed to go on.

    Attributes:
        client: DICOMwebClient.
        task: Task.
        origin: as of `compute_origin`.
        sr: whether a DICOM SR belongs to each SEG.
        job: further arguments of `predict_files`.
        seen, done: (study, series) -> its instances at the last look, and when it was done.
        failed: (study, series) -> number of failures, and from when on it is tried again.
    """

    client: object
    task: Task
    origin: str
    sr: bool
    job: dict
    seen: dict = field(default_factory=dict)
    done: dict = field(default_factory=dict)
    failed: dict = field(default_factory=dict)

    def look(self, found, interval):
        """Do what is not done.

        Args:
            found: set of (study, series); what failed before is tried, too, even if it is not
                among them any more.
            interval: seconds until the next look, None if there is none.
        """
        tried = False
        found |= set(self.failed)
        for known in (self.seen, self.done):
            for key in set(known) - found:
                del known[key]
        for key in sorted(found):
            if self.failed.get(key, (0, 0))[1] > time.monotonic():
                continue
            try:
                self.update(key, waits=interval is not None)
                self.failed.pop(key, None)
            except Exception as error:  # one series must not stop the others
                tried = True
                self.note(key, error, interval)
                if pacs.got_no_answer(error) and interval is not None:
                    break  # the others wait for the next look, instead of failing one by one
        if tried:
            uids = ", ".join(series for _, series in sorted(self.failed))
            log.error(f"Not done: {len(self.failed)} series: {uids}.")

    def note(self, key, error, interval):
        failures = self.failed.get(key, (0, 0))[0] + 1
        seconds = pause(interval, failures) if interval is not None else 0
        self.failed[key] = failures, time.monotonic() + seconds
        again = "" if interval is None else f"; tried again in {seconds:g} s"
        log.error(f"Series {key[1]} of study {key[0]}: {first_line(error)}{again}")

    def update(self, key, waits):
        """Do a series, unless it is done, or still grows and one waits for that."""
        instances = pacs.list_instances(self.client, *key)
        if not instances or self.done.get(key) == instances:  # without: it was removed meanwhile
            return
        before, self.seen[key] = self.seen.get(key), instances
        if self.task.field is not None and waits and before != instances:
            return
        self.serve(*key, instances)
        self.done[key] = instances

    def serve(self, study, series, instances):
        """Store what the server has not yet of the SEGs, and SRs, of a series.

        Raises: Failure if one could not be made or stored; else what the client raises.
        """
        whole = self.task.field is not None
        parts = [instances] if whole else [[uid] for uid in instances]
        missing = {}
        for part in parts:
            segmentation = derive_segmentation_uid(part, self.origin)
            missing[segmentation] = part
            if self.sr:
                missing[derive_report_uid(segmentation)] = part
        derived = derive_series_uid, derive_report_series_uid
        own = {derive(series, self.origin) for derive in derived}
        for uid in pacs.list_stored(self.client, study, own):
            missing.pop(uid, None)
        if not missing:
            return
        with tempfile.TemporaryDirectory(prefix=f"{FOLDER}{os.getpid()}-") as folder:
            images, out = Path(folder, "images"), Path(folder, "masks")
            images.mkdir()
            wanted = {uid for part in missing.values() for uid in part}
            pacs.fetch_instances(self.client, study, series, sorted(wanted), images)
            predict_files(inputs=[images], out=out, **self.job)
            self.send(study, out, missing)

    def send(self, study, folder, missing):
        """Store what a prediction left in a folder; Failure unless that is all that was missing."""
        from pydicom import dcmread

        wanted = len(missing)
        for path in sorted([*folder.glob("*_seg.dcm"), *folder.glob("*_sr.dcm")]):
            made = dcmread(path)
            if missing.pop(made.SOPInstanceUID, None) is None:
                continue
            pacs.store(self.client, study, made)
            log.info(f"Stored the {made.Modality} {made.SOPInstanceUID} of study {study}.")
        if missing:
            raise Failure(
                f"{len(missing)} of {wanted} files could not be made, see above; if the model was "
                "replaced since the node started, start it again."
            )
