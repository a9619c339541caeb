"""The HTTP service in this process, with stubs for models; the real server is in test_serve.py."""

import asyncio
import email
import gzip
import io
import json
import socket
import tempfile
import zipfile
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import cv2
import httpx
import nibabel
import numpy as np
import pydicom
import pytest
from data.files import dicom_image, series_folder
from fastapi.testclient import TestClient
from pydicom.data import get_testdata_file
from starlette.exceptions import HTTPException

from transfuse_keras.errors import InputError
from transfuse_keras.files import write_json
from transfuse_keras.inference.predictor import Predictor
from transfuse_keras.runs.trust import Trust, write_trust
from transfuse_keras.serving.app import create_app
from transfuse_keras.serving.job import predict_request
from transfuse_keras.serving.limits import Limits
from transfuse_keras.serving.serve import describe_address, find_page, listen
from transfuse_keras.serving.worker import SPAWN, Busy, TooLong, Worker
from transfuse_keras.tasks import Task, hip, polyp, prostate

SIZE = (16, 32)
IMAGE = np.zeros((*SIZE, 3), "uint8")  # RGB: a pelvis above, femurs below, of which one overlaps it
IMAGE[:8, :, 0] = IMAGE[8:, 16:, 1] = IMAGE[6:, :16, 2] = 255
PNG = cv2.imencode(".png", IMAGE[..., ::-1])[1].tobytes()
MASKS = dict(zip(hip.classes, np.moveaxis(IMAGE, -1, 0), strict=True))
RED = Predictor(SIZE, 3, 1, lambda images: images[..., :1].astype("float32") / 255)
ALL = Predictor(SIZE, 3, 3, lambda images: images.astype("float32") / 255)
BRIGHT = Predictor((128, 128), 2, 2, lambda images: 1 / (1 + np.exp(1.5 - images)))
SCAN = replace(prostate, name="scan", channels=1, classes=("dense",), field=(28.8, 28.0), flips="")
DENSE = Predictor((32, 40), 1, 1, lambda images: 1 / (1 + np.exp(1.5 - images)))
STUBS = {"hip": (hip, ALL), "polyp": (polyp, RED), "prostate": (prostate, BRIGHT)}
DIGITS = Task("digits", classes=("1", "true", "NaN"))
STUBS |= {"scan": (SCAN, DENSE), "digits": (DIGITS, ALL)}


@pytest.fixture
def client(tmp_path, monkeypatch):
    """A function from the name of a stub to a client of its service."""
    rests = tmp_path / "rests"
    rests.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(rests))

    def make(name="hip", largest=2**20, seconds=5, ask=None, page=None, trust=None):
        task, predictor = STUBS[name]
        run = tmp_path / name
        write_json(make_folder(run) / "config.json", {"schema": 1, "task": asdict(task)})
        if trust:
            write_trust(run, trust)
        ask = ask or partial(predict_request, [run], [predictor])
        app = create_app(ask, task, [0.5] * len(task.classes), largest, seconds, page)
        return TestClient(app, raise_server_exceptions=False)

    yield make
    assert not list(rests.iterdir())


def make_folder(path):
    path.mkdir(exist_ok=True)
    return path


def post(client, content, name, where="/predict", **options):
    return client.post(where, files={"file": (name, content)}, **options)


def decode(content):
    return cv2.imdecode(np.frombuffer(content, "uint8"), cv2.IMREAD_UNCHANGED)


def volume(shape=(20, 24, 6, 2)):
    """NIfTI, one corner of which is bright in every slice and channel."""
    values = np.random.default_rng(0).normal(0, 1, shape).astype("float32")
    values[:10, :12] += 40
    return nibabel.Nifti1Image(values, np.diag([-0.5, -0.5, 3, 1]))


def test_areas_are_the_number_of_pixels_drawn(client):
    answer = post(client(), PNG, "x-ray.png")
    assert answer.status_code == 200
    rows = answer.json()["measurements"]
    areas = {row["class"]: row["area"] for row in rows}
    assert areas == {name: np.count_nonzero(mask) for name, mask in MASKS.items()}
    assert {row["unit"] for row in rows} == {"px"}


def test_classes_called_like_numbers_stay_names(client):
    answer = post(client("digits"), PNG, "1e3.png")
    assert answer.status_code == 200, answer.text
    rows = answer.json()["measurements"]
    assert [row["class"] for row in rows] == ["1", "true", "NaN"]
    assert {row["name"] for row in rows} == {"1e3"} and {row["slice"] for row in rows} == {None}
    assert [row["area"] for row in rows] == [np.count_nonzero(mask) for mask in MASKS.values()]


def test_masks_of_several_classes_come_in_an_archive(client):
    answer = post(client(), PNG, "x-ray.png", "/predict?output=mask")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        found = {name: decode(archive.read(name)) for name in archive.namelist()}
    assert len(found) == 3
    for name, mask in MASKS.items():
        np.testing.assert_array_equal(found[f"image_{name}.png"], mask)


def test_the_mask_of_one_class_is_a_png(client):
    jpeg = cv2.imencode(".jpg", IMAGE[..., ::-1])[1].tobytes()
    for content, name in ((PNG, "a.png"), (PNG, "without ending"), (jpeg, "a.JPG")):
        answer = post(client("polyp"), content, name, "/predict?output=mask")
        assert answer.headers["content-type"] == "image/png"
        assert np.mean(decode(answer.content) == MASKS["pelvis"]) > 0.9


def test_of_a_model_with_a_trust_the_masks_alone_are_answered(client):
    trust = Trust(9, {"polyp": 1.0}, {"polyp": (1.0, 0.0)}, 0.5, {"mean of channel 1": (0, 1)})
    with_trust = client("polyp", trust=trust)
    answer = post(with_trust, PNG, "a.png", "/predict?output=mask")
    assert answer.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(decode(answer.content), MASKS["pelvis"])
    label_map = post(with_trust, PNG, "a.png", "/infer/polyp?output=image")
    assert label_map.status_code == 200, label_map.text
    np.testing.assert_array_equal(decode(label_map.content) * 255, MASKS["pelvis"])


def test_the_mask_of_a_volume_lies_on_its_grid(client):
    image = volume()
    for content, name in (
        (image.to_bytes(), "case.nii"),
        (gzip.compress(image.to_bytes()), "case.nii.gz"),
    ):
        answer = post(client("prostate"), content, name, "/predict?output=mask")
        assert answer.status_code == 200, answer.text
        mask = nibabel.Nifti1Image.from_bytes(gzip.decompress(answer.content))
        np.testing.assert_array_equal(mask.affine, image.affine)
        values = np.asarray(mask.dataobj)
        assert values.shape == image.shape[:3] and values.any()
        assert not values[14:].any() and not values[:, 16:].any()


def send_folders(client, folders, where):
    files = [path for folder in folders for path in sorted(folder.iterdir())]
    return client.post(where, files=[("file", (x.name, x.read_bytes())) for x in files])


@pytest.mark.parametrize("output", ["json", "mask", "seg"])
def test_several_images_or_series_in_one_request_are_refused(client, tmp_path, output):
    for name in ("a", "b"):
        dicom_image(tmp_path / "images" / f"{name}.dcm", IMAGE[..., 0])
        series_folder(tmp_path / name, count=2)
    for task, folders in (("hip", ["images"]), ("scan", ["a", "b"])):
        sent = [tmp_path / name for name in folders]
        answer = send_folders(client(task), sent, f"/predict?output={output}")
        assert answer.status_code == 422 and "several" in answer.json()["detail"]


def test_the_slices_of_one_series_are_one_volume(client, tmp_path):
    values = series_folder(tmp_path / "a")
    answer = send_folders(client("scan"), [tmp_path / "a"], "/predict?output=mask")
    mask = nibabel.Nifti1Image.from_bytes(gzip.decompress(answer.content))
    assert np.count_nonzero(mask.dataobj) == np.count_nonzero(values == 300)


def test_sizes_have_the_name_that_the_file_was_sent_by(client, tmp_path):
    dicom_image(tmp_path / "cine", np.stack([IMAGE, IMAGE]))
    cine = (tmp_path / "cine").read_bytes()
    series_folder(tmp_path / "a")
    for content, sent, names in (
        (PNG, "a b.1.PNG", {"a b.1"}),
        (cine, "1.2.3", {"1.2.3_0001", "1.2.3_0002"}),
        (cine, "image.DCM", {"image_0001", "image_0002"}),
    ):
        rows = post(client(), content, sent).json()["measurements"]
        assert {row["name"] for row in rows} == names
    rows = send_folders(client("scan"), [tmp_path / "a"], "/predict").json()["measurements"]
    assert {row["name"] for row in rows} == {"image"}


@pytest.mark.slow  # highdicom takes long to import
def test_the_seg_of_a_dicom_image_names_it(client):
    content = Path(get_testdata_file("CT_small.dcm")).read_bytes()
    answer = post(client(), content, "CT", "/predict?output=seg")
    assert answer.headers["content-type"] == "application/dicom"
    image, seg = pydicom.dcmread(io.BytesIO(content)), pydicom.dcmread(io.BytesIO(answer.content))
    assert seg.Modality == "SEG" and seg.PatientID == image.PatientID
    assert [x.SegmentLabel for x in seg.SegmentSequence] == list(hip.classes)
    rows = post(client(), content, "CT").json()["measurements"]
    assert seg.pixel_array.sum() == sum(
        round(row["area"] / np.prod(image.PixelSpacing)) for row in rows
    )


@pytest.mark.slow  # highdicom takes long to import
def test_a_seg_that_cannot_be_made_is_told_without_an_option_of_the_command_line(client, tmp_path):
    dicom = dicom_image(tmp_path / "a.dcm", IMAGE[..., 0])
    del dicom.StudyInstanceUID
    dicom.save_as(tmp_path / "a.dcm")
    content = (tmp_path / "a.dcm").read_bytes()
    said = post(client(), content, "a.dcm", "/predict?output=seg").json()["detail"]
    assert said.startswith("a.dcm") and "masks" in said and "--" not in said


def test_masks_are_answered_where_the_sizes_alone_are_unknown(client, tmp_path):
    dicom_image(tmp_path / "a.dcm", IMAGE[..., 0], PixelSpacing=[0, 0])
    content = (tmp_path / "a.dcm").read_bytes()
    polyp = client("polyp")
    mask = post(polyp, content, "a.dcm", "/predict?output=mask").content
    label_map = post(polyp, content, "a.dcm", "/infer/polyp?output=image").content
    for found in (decode(mask), 255 * decode(label_map)):
        np.testing.assert_array_equal(found, MASKS["pelvis"])
    for where in ("/predict", "/infer/polyp"):
        refused = post(polyp, content, "a.dcm", where)
        assert refused.status_code == 422 and "PixelSpacing" in refused.json()["detail"]


def huge_png():
    """A PNG whose header claims 60000 x 60000 pixels."""
    head = bytearray(PNG)
    head[16:24] = (60000).to_bytes(4, "big") * 2
    return bytes(head)


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("notes.txt", b"a letter", "not a readable image"),
        ("empty.png", b"", "not a readable image"),
        ("cut.png", PNG[:-40], "not a readable image"),
        ("huge.png", huge_png(), "not a readable image"),
        ("../../etc/up.png", b"x", "not a readable image"),
        ("cut.dcm", b"\0" * 128 + b"DICM", "holds no image"),
        ("case.nii.gz", b"x", "takes images"),
        ("other.mhd", b"ElementDataFile = /etc/passwd", ".nii.gz"),
        ("other.nrrd", b"NRRD0004\ndata file: /etc/passwd", ".nii.gz"),
    ],
)
def test_a_bad_file_is_refused_in_a_sentence_with_its_name(client, tmp_path, name, content, word):
    answer = post(client(), content, name)
    assert answer.status_code == 422
    said = answer.json()["detail"]
    assert said.startswith(name) and word in said and str(tmp_path) not in said
    assert said.endswith(".") and "\n" not in said


def test_a_seg_of_a_picture_is_refused(client):
    answer = post(client(), PNG, "a.png", "/predict?output=seg")
    assert answer.status_code == 422 and "DICOM" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("request_", "word"),
    [
        ({"files": {"image": ("a.png", PNG)}}, "file: "),
        ({"json": {"file": 3}}, "file: "),
        ({"data": {"file": "hello"}}, "file: "),
        ({}, "file: "),
        ({"files": {"file": ("a.png", PNG)}, "params": {"output": "x"}}, "output: "),
    ],
)
def test_a_request_of_another_form_is_refused(client, request_, word):
    answer = client().post("/predict", **request_)
    said = answer.json()["detail"]
    assert answer.status_code == 422 and said.startswith(word)
    assert "<class" not in said and (word != "file: " or "-F file=@" in said)


def test_a_body_that_is_too_large_is_refused_by_what_it_claims_and_by_what_it_is(client):
    small = client(largest=1000)
    assert post(small, bytes(2000), "a.png").status_code == 413

    def pieces():
        yield from (bytes(500) for _ in range(4))

    form = {"content-type": "multipart/form-data; boundary=x"}
    answer = small.post("/predict", content=pieces(), headers=form)
    assert answer.status_code == 413 and "MiB" in answer.json()["detail"]


def test_a_body_that_is_too_slow_is_refused():
    async def read(scope, receive, send):
        await receive()

    async def nothing_comes():
        await asyncio.sleep(60)

    scope = {"type": "http", "headers": []}
    with pytest.raises(HTTPException, match="0.01 s") as refused:
        asyncio.run(Limits(read, 1, seconds=0.01)(scope, nothing_comes, None))
    assert refused.value.status_code == 408


@pytest.mark.parametrize(("error", "code"), [(Busy("full"), 503), (TooLong("slow"), 504)])
def test_what_the_worker_cannot_do_has_a_status_of_its_own(client, error, code):
    def ask(*_):
        raise error

    answer = post(client(ask=ask), PNG, "a.png")
    assert (answer.status_code, answer.json()["detail"]) == (code, str(error))


def test_a_file_that_breaks_the_worker_twice_is_refused():
    class Broken(Worker):
        starts = 0

        def start(self):
            self.starts += 1
            self.pipe, end = SPAWN.Pipe()
            end.close()

        def stop(self):
            self.pipe.close()

    worker = Broken(["model"], 1)
    with pytest.raises(InputError, match="broke"):
        worker.ask("folder", "none", False)
    assert worker.starts == 3


def test_health_and_the_description(client):
    asked = client("polyp")
    assert asked.get("/health").json()["thresholds"] == {"polyp": 0.5}
    assert {"/health", "/predict", "/info/"} < asked.get("/openapi.json").json()["paths"].keys()
    assert asked.get("/").url.path == "/docs"


def test_the_page_of_a_run_is_at_the_root(client, tmp_path):
    page = make_folder(tmp_path / "web")
    (page / "index.html").write_text("a page")
    (page / "model.tflite").write_bytes(b"a model")
    assert find_page(tmp_path, hip, tmp_path / "made") == page
    assert client(page=page).get("/").text == "a page"
    assert find_page(tmp_path / "none.onnx", hip, tmp_path / "made") is None


def test_a_port_that_is_taken_is_named():
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"--port {port}"):
            listen("127.0.0.1", port)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_an_address_of_ipv6_is_listened_at():
    try:
        listening = listen("::1", 0)
    except InputError as error:
        pytest.skip(str(error))
    with listening:
        url = httpx.URL(describe_address(listening))
        with socket.create_connection((url.host, url.port), timeout=5):
            assert url.host == "::1"


def test_monai_label_gets_a_form_with_a_label_map(client):
    answer = post(client(), PNG, "a.png", "/infer/hip?image=a")
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    about, image = email.message_from_bytes(head + answer.content).get_payload()
    told = json.loads(about.get_payload())
    assert told["label_names"] == {"pelvis": 1, "left_femur": 2, "right_femur": 3}
    drawn = (IMAGE // 255 * np.arange(1, 4, dtype="uint8")).max(axis=-1)
    np.testing.assert_array_equal(decode(image.get_payload(decode=True)), drawn)
    assert told["overlapping"] == np.count_nonzero((IMAGE > 0).sum(axis=-1) > 1) > 0
    one = post(client("polyp"), PNG, "a.png", "/infer/polyp?output=image")
    np.testing.assert_array_equal(decode(one.content), IMAGE[..., 0] // 255)


def test_monai_label_gets_the_label_map_of_a_volume_as_predict_gives_it(client):
    content = volume().to_bytes()
    mask = post(client("prostate"), content, "a.nii", "/predict?output=mask").content
    image = post(client("prostate"), content, "a.nii", "/infer/prostate?output=image").content
    assert gzip.decompress(mask) == gzip.decompress(image)


@pytest.mark.parametrize(
    ("where", "files", "code", "word"),
    [
        ("/infer/knee", {"file": ("a.png", PNG)}, 404, "knee"),
        ("/infer/hip?image=1.2.3", {}, 422, "1.2.3"),
        ("/infer/hip", {"file": ("a.png", PNG), "label": ("b.png", PNG)}, 422, "label"),
        ("/infer/hip?output=dicom_seg", {"file": ("a.png", PNG)}, 422, "DICOM"),
    ],
)
def test_monai_label_is_refused_in_a_sentence(client, where, files, code, word):
    answer = client().post(where, files=files, data={"params": "{}"})
    assert answer.status_code == code and word in answer.json()["detail"]
