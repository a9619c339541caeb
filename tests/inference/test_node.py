"""A node at work on Orthanc, an independent PACS, which the test starts on the loopback."""

import shutil
import socket
import subprocess
import tempfile
import time
from datetime import date, timedelta
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import onnx
import pydicom
import pytest
from data.files import dicom_image, series_folder
from dicomweb_client import DICOMwebClient
from inference.test_dicom_seg import SCAN, levels, run_folder, validate
from onnx import TensorProto, helper

from transfuse_keras.errors import Failure, InputError
from transfuse_keras.files import write_json
from transfuse_keras.inference import node, pacs
from transfuse_keras.inference.predict_files import predict_files

__all__ = ["run_folder"]
ORTHANC = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
with_orthanc = pytest.mark.skipif(
    not (Path(ORTHANC).exists() and PLUGIN.exists()),
    reason="needs Orthanc: apt-get install orthanc orthanc-dicomweb",
)
PATIENCE = 120  # seconds until a step of the test must be done


@pytest.fixture
def model(tmp_path):
    """An exported model whose one map is the brightness of the image."""
    size = (16, 24)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, *size, 3])
    maps = helper.make_tensor_value_info("maps", TensorProto.FLOAT, [1, *size, 1])
    white = helper.make_tensor("white", TensorProto.FLOAT, [], [255.0])
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["grey"], axes=[3], keepdims=1),
        helper.make_node("Div", ["grey", "white"], ["maps"]),
    ]
    graph = helper.make_graph(nodes, "brightness", [image], [maps], [white])
    path = tmp_path / "model" / "model.onnx"
    path.parent.mkdir()
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    inputs = {"size": size, "channels": 3, "dtype": "float32", "values": "RGB, 0-255"}
    about = {"task": "wrist", "classes": ["bone"], "thresholds": [0.5], "exclusive": False}
    about |= {"mirror_pairs": [], "field": None, "flips": "", "protocols": [], "input": inputs}
    write_json(path.with_name("model.onnx.json"), about)
    return path


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Where nodes keep images while they predict them."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    return tmp_path / "scratch"


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
            return pacs.connect(url).search_for_studies() == []
        except OSError:
            return False

    try:
        wait_until(answers, lambda: server.poll() is None)
        yield url
    finally:
        server.kill()
        server.wait()


def write_studies(folder, count):
    """Radiographs of today, each of a patient of its own."""
    rng = np.random.default_rng(0)
    for i in range(count):
        pixels = np.kron(rng.integers(0, 256, (3, 4)), np.ones((8, 10))).astype("uint8")
        names = {"PatientID": f"P{i}", "PatientName": f"Doe^{i}"}
        today = f"{date.today():%Y%m%d}"
        dicom_image(folder / f"{i:02}.dcm", pixels, StudyDate=today, **names)
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


def find_stored(client, modality="SEG"):
    """(study, series) of a modality."""
    found = client.search_for_series(search_filters={"Modality": modality})
    return [(pacs.value(x, pacs.STUDY), pacs.value(x, pacs.SERIES)) for x in found]


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
        wait_until(lambda wanted=wanted: len(find_stored(client)) >= wanted, process.is_alive)
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


class Server:
    """A server in memory whose connection breaks at some questions, counted from 1."""

    def __init__(self, images, broken=()):
        self.images, self.stored, self.asked, self.broken = images, [], 0, set(broken)
        self.since = []

    def ask(self):
        self.asked += 1
        if self.asked in self.broken:
            raise ConnectionError("broken")

    def search_for_studies(self, search_filters, **_):
        self.since.append(search_filters["StudyDate"])
        self.ask()
        uids = {x.StudyInstanceUID for x in self.images}
        return [{pacs.STUDY: {"Value": [uid]}} for uid in uids]

    def search_for_series(self, study, search_filters=None, **_):
        found = [x for x in (*self.images, *self.stored) if x.StudyInstanceUID == study]
        wanted = (search_filters or {}).get("Modality")
        uids = {x.SeriesInstanceUID for x in found if wanted in (None, x.Modality)}
        return [{pacs.SERIES: {"Value": [uid]}} for uid in uids]

    def search_for_instances(self, study, series, **_):
        found = [x for x in (*self.images, *self.stored) if x.SeriesInstanceUID == series]
        return [{pacs.INSTANCE: {"Value": [x.SOPInstanceUID]}} for x in found]

    def retrieve_instance(self, study, series, uid, **_):
        (found,) = [x for x in self.images if x.SOPInstanceUID == uid]
        return found

    def store_instances(self, datasets, study):
        self.ask()
        self.stored += datasets
        self.ask()  # stored, but the answer is lost
        return pydicom.Dataset()


@pytest.fixture
def pauses(monkeypatch):
    """The pauses of a node, of which the 40th ends it; they take no time."""
    pauses, now = [], [0.0]

    def sleep(seconds):
        pauses.append(seconds)
        now[0] += seconds
        if len(pauses) == 40:
            raise KeyboardInterrupt

    monkeypatch.setattr(node.time, "sleep", sleep)
    monkeypatch.setattr(node.time, "monotonic", lambda: now[0])
    return pauses


def test_lost_connections_are_outlived_with_growing_pauses(
    model, tmp_path, monkeypatch, caplog, pauses
):
    images = write_studies(tmp_path / "in", 2)
    # while studies are asked for; before and after a SEG is stored
    server = Server(images, broken={1, 2, 4, 7, 10})
    monkeypatch.setattr(pacs, "connect", lambda url: server)
    with pytest.raises(KeyboardInterrupt):
        node.watch(model, "http://x", ["DX"], interval=1)
    assert len(server.stored) == len({x.SOPInstanceUID for x in server.stored}) == 2
    assert {x.StudyInstanceUID for x in server.stored} == {x.StudyInstanceUID for x in images}
    assert pauses[:2] == [2, 4] and pauses[-1] == 1 and server.asked > 10
    assert "Not done: 1 series" in caplog.text and "tried again in 4 s" in caplog.text
    server.broken.add(server.asked + 1)
    with pytest.raises(Failure, match="http://x"):
        node.watch(model, "http://x", ["DX"], once=True)


def test_what_came_while_a_server_was_away_for_days_is_looked_for(
    model, tmp_path, monkeypatch, pauses
):
    server, start = Server([], broken=range(2, 12)), date(2026, 3, 30)

    class Today(date):
        @classmethod
        def today(cls):
            return start + timedelta(days=len(pauses))

    monkeypatch.setattr(node, "date", Today)
    monkeypatch.setattr(pacs, "connect", lambda url: server)
    with pytest.raises(KeyboardInterrupt):
        node.watch(model, "http://x", ["DX"], interval=1)
    assert server.since[:3] == ["20260329-"] * 3 and set(server.since[:12]) == {"20260329-"}
    assert server.since[12:14] == ["20260409-", "20260410-"]  # the day before the last good look


def test_what_fails_is_tried_again_less_and_less_often_even_if_it_is_not_new_any_more(
    model, tmp_path, monkeypatch, caplog, pauses
):
    images = write_studies(tmp_path / "in", 2)
    server, made = Server(images), node.predict_files

    def fail(inputs, **options):
        if len(pauses) < 30 and (inputs[0] / f"{images[0].SOPInstanceUID}.dcm").exists():
            if len(pauses) == 1:
                monkeypatch.setattr(server, "search_for_studies", lambda **_: [])
            raise InputError("odd.")
        return made(inputs=inputs, **options)

    monkeypatch.setattr(node, "predict_files", fail)
    monkeypatch.setattr(pacs, "connect", lambda url: server)
    with pytest.raises(KeyboardInterrupt):
        node.watch(model, "http://x", ["DX"], interval=1)
    assert len(server.stored) == 2
    assert [f"odd.; tried again in {2**n} s" in caplog.text for n in range(1, 7)] == [True] * 4 + [
        False
    ] * 2


def test_a_series_that_still_grows_is_left_alone(run_folder, tmp_path, monkeypatch, pauses):
    series_folder(tmp_path / "scan")
    slices = [pydicom.dcmread(path) for path in (tmp_path / "scan").iterdir()]
    slices.sort(key=lambda x: x.ImagePositionPatient[2])
    server = Server(slices[:3])
    asked = server.search_for_studies

    def grow(**options):
        server.images = slices[: 3 + len(pauses)]
        return asked(**options)

    monkeypatch.setattr(server, "search_for_studies", grow)
    monkeypatch.setattr(pacs, "connect", lambda url: server)
    with pytest.raises(KeyboardInterrupt):
        node.watch(run_folder(SCAN, (40, 32), levels), "http://x", ["CT"], interval=1)
    (seg,) = server.stored
    assert seg.NumberOfFrames == 2 * 6


def test_what_cannot_be_used_is_told(model):
    with pytest.raises(InputError, match="nonsense"):
        node.watch(model, "nonsense", ["DX"], once=True)
    with pytest.raises(InputError, match="days"):
        node.watch(model, "http://x", ["DX"], days=0)
