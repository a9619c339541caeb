"""A node at work on a server in memory, whose connection breaks where the test wants it to."""

import os
import tempfile
from datetime import date, timedelta

import numpy as np
import onnx
import pydicom
import pytest
from data.files import dicom_image, series_folder
from inference.test_dicom_seg import SCAN, levels, run_folder
from onnx import TensorProto, helper

from transfuse_keras.cli import main
from transfuse_keras.errors import Failure, InputError
from transfuse_keras.files import write_json
from transfuse_keras.inference import node, pacs

__all__ = ["run_folder"]


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


def write_studies(folder, count):
    """Radiographs of today, each of a patient of its own."""
    rng = np.random.default_rng(0)
    for i in range(count):
        pixels = np.kron(rng.integers(0, 256, (3, 4)), np.ones((8, 10))).astype("uint8")
        names = {"PatientID": f"P{i}", "PatientName": f"Doe^{i}"}
        today = f"{date.today():%Y%m%d}"
        dicom_image(folder / f"{i:02}.dcm", pixels, StudyDate=today, **names)
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


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
        return [{pacs.STUDY_UID: {"Value": [uid]}} for uid in uids]

    def search_for_series(self, study, search_filters=None, **_):
        found = [x for x in (*self.images, *self.stored) if x.StudyInstanceUID == study]
        wanted = (search_filters or {}).get("Modality")
        uids = {x.SeriesInstanceUID for x in found if wanted in (None, x.Modality)}
        return [{pacs.SERIES_UID: {"Value": [uid]}} for uid in uids]

    def search_for_instances(self, study, series, **_):
        found = [x for x in (*self.images, *self.stored) if x.SeriesInstanceUID == series]
        return [{pacs.INSTANCE_UID: {"Value": [x.SOPInstanceUID]}} for x in found]

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
    monkeypatch.setattr(pacs, "connect_service", lambda url: server)
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
    monkeypatch.setattr(pacs, "connect_service", lambda url: server)
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
    monkeypatch.setattr(pacs, "connect_service", lambda url: server)
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
    monkeypatch.setattr(pacs, "connect_service", lambda url: server)
    with pytest.raises(KeyboardInterrupt):
        node.watch(run_folder(SCAN, (40, 32), levels), "http://x", ["CT"], interval=1)
    (seg,) = server.stored
    assert seg.NumberOfFrames == 2 * 6


def test_the_command_stores_and_tells_what(model, tmp_path, monkeypatch, capsys):
    server = Server(write_studies(tmp_path / "in", 1))
    monkeypatch.setattr(pacs, "connect_service", lambda url: server)
    words = ["node", "--dicomweb", "http://x", "--model", str(model), "--modality", "dx"]
    assert main([*words, "--sr", "--once"]) == 0
    assert [x.Modality for x in server.stored] == ["SEG", "SR"]
    told = capsys.readouterr().out
    assert all(x.SOPInstanceUID in told for x in server.stored)
    server.broken.add(server.asked + 1)
    assert main([*words, "--once"]) == 1 and "http://x" in capsys.readouterr().err


def test_what_a_server_refuses_is_told(model, tmp_path, monkeypatch, caplog):
    server, refused = Server(write_studies(tmp_path / "in", 1)), pydicom.Dataset()
    reason = pydicom.Dataset()
    reason.FailureReason = 0xA700  # out of resources
    refused.FailedSOPSequence = [reason]
    monkeypatch.setattr(server, "store_instances", lambda datasets, study: refused)
    monkeypatch.setattr(pacs, "connect_service", lambda url: server)
    assert node.watch(model, "http://x", ["DX"], once=True) == 1
    assert "SEG" in caplog.text and str(0xA700) in caplog.text


def test_images_of_killed_nodes_are_removed_those_of_others_stay(scratch):
    alive, dead, own = os.getppid(), 2**30, os.getpid()
    for name in (alive, dead, own, "modules"):
        (scratch / f"transfuse-node-{name}-x" / "images").mkdir(parents=True)
    node.remove_dead_folders()
    left = {path.name for path in scratch.iterdir()}
    assert left == {f"transfuse-node-{alive}-x", "transfuse-node-modules-x"}


def test_what_cannot_be_used_is_told(model):
    with pytest.raises(InputError, match="nonsense"):
        node.watch(model, "nonsense", ["DX"], once=True)
    with pytest.raises(InputError, match="days"):
        node.watch(model, "http://x", ["DX"], days=0)
