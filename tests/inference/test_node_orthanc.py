"""A node at work on Orthanc, an independent PACS, which the test starts on the loopback."""

import shutil
import socket
import subprocess
import time
from multiprocessing import get_context
from pathlib import Path

import pydicom
import pytest
from dicomweb_client import DICOMwebClient
from inference.test_dicom_seg import validate
from inference.test_node import model, scratch, write_studies

from transfuse_keras.files import write_json
from transfuse_keras.inference import node, pacs
from transfuse_keras.inference.predict_files import predict_files

__all__ = ["model", "scratch"]
ORTHANC = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
with_orthanc = pytest.mark.skipif(
    not (Path(ORTHANC).exists() and PLUGIN.exists()),
    reason="needs Orthanc: apt-get install orthanc orthanc-dicomweb",
)
PATIENCE = 120  # seconds until a step of the test must be done


def wait_until(is_done, alive):
    """Wait, for PATIENCE at most, as long as a process is alive."""
    end = time.monotonic() + PATIENCE
    while not is_done():
        assert alive() and time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def orthanc(tmp_path, monkeypatch):
    """The URL of an empty Orthanc, which asks for a password; ~/.netrc has it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = str(tmp_path / "orthanc")
    settings = {"StorageDirectory": folder, "IndexDirectory": folder, "HttpPort": port}
    settings |= {"DicomServerEnabled": False, "RemoteAccessAllowed": False}
    settings |= {"AuthenticationEnabled": True, "RegisteredUsers": {"node": "secret"}}
    write_json(tmp_path / "orthanc.json", settings | {"Plugins": [str(PLUGIN)]})
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login node password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with open(tmp_path / "orthanc.log", "w") as log:
        server = subprocess.Popen([ORTHANC, tmp_path / "orthanc.json"], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}/dicom-web"

    def answers():
        try:
            return pacs.connect_service(url).search_for_studies() == []
        except OSError:
            return False

    try:
        wait_until(answers, lambda: server.poll() is None)
        yield url
    finally:
        server.kill()
        server.wait()


def find_stored(client, modality="SEG"):
    """(study, series) of a modality."""
    found = client.search_for_series(search_filters={"Modality": modality})
    return [(pacs.value(x, pacs.STUDY_UID), pacs.value(x, pacs.SERIES_UID)) for x in found]


@with_orthanc
@pytest.mark.slow
def test_each_study_is_done_once_though_the_node_is_killed_three_times(
    model, orthanc, scratch, tmp_path
):
    # what is imported here is there in the forked processes, too
    import highdicom.sr  # noqa: F401
    import onnxruntime  # noqa: F401

    images, client = write_studies(tmp_path / "in", 30), DICOMwebClient(orthanc)
    client.store_instances(images)
    options = {"sr": True, "interval": 0.1}
    for wanted in (3, 11, 20):
        process = get_context("fork").Process(
            target=node.watch, args=(model, orthanc, ["DX"]), kwargs=options
        )
        process.start()
        try:
            wait_until(lambda wanted=wanted: len(find_stored(client)) >= wanted, process.is_alive)
        finally:
            process.kill()  # SIGKILL
            process.join()
    assert 20 <= len(find_stored(client)) < 30
    for _ in range(2):  # the second time nothing is left to do
        assert node.watch(model, orthanc, ["DX"], sr=True, once=True) == 0
    assert not list(scratch.iterdir())  # no images of the killed
    out = tmp_path / "out"
    assert predict_files(model, [tmp_path / "in"], out, overlays=False, sr=True) == 0
    for modality, ending in (("SEG", "_seg.dcm"), ("SR", "_sr.dcm")):
        own = [pydicom.dcmread(path) for path in out.glob(f"*{ending}")]
        made = {x.SOPInstanceUID: x.get("PixelData", x.get("ContentSequence")) for x in own}
        found = [
            x for series in find_stored(client, modality) for x in client.retrieve_series(*series)
        ]
        assert len(found) == len(made) == 30
        assert {x.StudyInstanceUID for x in found} == {x.StudyInstanceUID for x in images}
        for instance in found:
            same = instance.get("PixelData", instance.get("ContentSequence"))
            assert same == made[instance.SOPInstanceUID]
        for instance in found if modality == "SEG" else found[:3]:
            instance.save_as(tmp_path / "stored.dcm", enforce_file_format=True)
            assert not validate(tmp_path / "stored.dcm")
        if modality == "SEG":
            assert len(set(made.values())) > 20


@with_orthanc
@pytest.mark.slow
def test_what_fails_is_listed_and_the_rest_is_done(model, orthanc, tmp_path, caplog):
    images, client = write_studies(tmp_path / "in", 3), DICOMwebClient(orthanc)
    images[1].PhotometricInterpretation = "RGB"  # of one value a pixel: cannot be shown
    images[2].StudyDate = "20200101"
    client.store_instances(images)
    assert node.watch(model, orthanc, ["CT"], once=True) == 0 and not find_stored(client)
    assert node.watch(model, orthanc, ["DX", "CR"], once=True) == 1
    assert [study for study, _ in find_stored(client)] == [images[0].StudyInstanceUID]
    assert f"Not done: 1 series: {images[1].SeriesInstanceUID}" in caplog.text
