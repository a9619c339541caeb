"""`transfuse serve` as a process on a port of the loopback: load, hostile bodies, a lost worker."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import httpx
import nibabel
import numpy as np
import psutil
import pytest
from conftest import CLIENTS
from data.files import picture, save
from PIL import Image
from pydicom.data import get_testdata_file

from transfuse_keras.files import write_json
from transfuse_keras.inference.predict_files import predict_files
from transfuse_keras.tasks import hip

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SIZES = [(32, 48), (40, 30), (100, 120)]


@pytest.fixture(scope="module")
def model(litert_file, tmp_path_factory):
    """The .tflite file of a run folder."""
    run = tmp_path_factory.mktemp("run")
    write_json(run / "config.json", {"schema": 1, "task": asdict(hip)})
    return shutil.copy(litert_file, run / "model.tflite")


@pytest.fixture(scope="module")
def rests(tmp_path_factory):
    """The folder for temporary files of the server."""
    return tmp_path_factory.mktemp("rests")


@contextmanager
def serving(model, rests, *options):
    """(process of a server, client of it)."""
    command = [sys.executable, "-m", "transfuse_keras", "serve", "--model", model, "--port", "0"]
    environment = {**os.environ, "TMPDIR": str(rests), "PYTHONPATH": str(ROOT)}
    server = subprocess.Popen(
        [*map(str, command), *options],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        said = ""
        while not (found := re.search(r"http://\S+:\d+", said)):
            said = server.stdout.readline()
            assert said, "the server ended"
        with httpx.Client(base_url=found[0], timeout=120) as client:
            yield psutil.Process(server.pid), client
    finally:
        server.terminate()
        assert server.wait(30) == 0


@pytest.fixture(scope="module")
def server(model, rests):
    with serving(model, rests) as found:
        yield found


def requests_of(rests):
    return [path for path in rests.iterdir() if not path.name.startswith("transfuse-page")]


def pictures(folder, count):
    files = []
    for number in range(count):
        height, width = SIZES[number % 3]
        image = np.resize(picture(number), (height, width, 3))
        files.append(folder / f"{number}.png")
        save(files[-1], image)
    return files


def test_a_hundred_requests_eight_at_a_time_get_the_masks_of_predict(
    server, model, rests, tmp_path
):
    _, client = server
    files = pictures(tmp_path / "images", 100)
    assert predict_files(model, files, tmp_path / "masks", overlays=False) == 0

    def ask(file):
        answer = client.post("/predict?output=mask", files={"file": (file.name, file.read_bytes())})
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    with ThreadPoolExecutor(8) as pool:
        for file, found in zip(files, pool.map(ask, files), strict=True):
            for name in hip.classes:
                wanted = (tmp_path / "masks" / f"{file.stem}_{name}.png").read_bytes()
                assert found[f"image_{name}.png"] == wanted
    assert not requests_of(rests)


def hostile_bodies(folder):
    """(name, content) of a thousand bodies none of which is a whole image."""
    rng = np.random.default_rng(0)
    png = pictures(folder, 3)[2].read_bytes()
    jpeg = io.BytesIO()
    Image.open(io.BytesIO(png)).save(jpeg, "JPEG")
    dicom = Path(get_testdata_file("CT_small.dcm")).read_bytes()
    nifti = nibabel.Nifti1Image(np.zeros((8, 8, 4), "float32"), np.eye(4)).to_bytes()
    whole = {"a.png": png, "a.jpg": jpeg.getvalue(), "a.dcm": dicom}
    for number in range(1000):
        kind = number % 5
        name = list(whole)[number // 5 % 3]
        content = whole[name]
        if kind == 0:
            yield name, rng.bytes(rng.integers(0, 5000))
        elif kind == 1:
            yield name, content[: rng.integers(0, len(content) * 9 // 10)]
        elif kind == 2:  # a header that claims a huge image
            head = bytearray(png)
            head[16:24] = rng.integers(2**13, 2**31, 2).astype(">u4").tobytes()
            yield "huge.png", bytes(head)
        elif kind == 3:
            yield "a.nii", nifti
        else:
            yield "a.pdf", b"%PDF-1.7\n" + rng.bytes(200)


def test_a_thousand_hostile_bodies_get_a_sentence_each_and_leave_nothing(server, rests, tmp_path):
    process, client = server
    bodies = list(hostile_bodies(tmp_path / "whole"))

    def ask(body):
        return client.post("/predict", files={"file": body})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, bodies))
    others = [
        (body[0], len(body[1]), answer.status_code, answer.text[:200])
        for body, answer in zip(bodies, answers, strict=True)
        if answer.status_code != 422
    ]
    assert not others
    for (name, _), answer in zip(bodies, answers, strict=True):
        assert answer.json()["detail"].startswith(name)
    assert not requests_of(rests)
    held = [p.memory_info().rss for p in (process, *process.children(recursive=True))]
    assert sum(held) < 2**30, held
    good = pictures(tmp_path, 1)[0].read_bytes()
    assert ask(("a.png", good)).status_code == 200


def find_worker(process):
    """The process that predicts: of the children the one with the most memory."""
    return max(process.children(recursive=True), key=lambda child: child.memory_info().rss)


def test_a_worker_that_hangs_or_is_lost_is_replaced(model, rests, tmp_path):
    content = pictures(tmp_path, 1)[0].read_bytes()
    with serving(model, rests, "--timeout", "3") as (process, client):
        ask = lambda: client.post("/predict", files={"file": ("a.png", content)})  # noqa: E731
        first = ask()
        find_worker(process).send_signal(signal.SIGSTOP)
        hanging = ask()
        assert hanging.status_code == 504 and "3 s" in hanging.json()["detail"]
        assert ask().json() == first.json()
        worker = find_worker(process)
        worker.send_signal(signal.SIGSTOP)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask)
            while not requests_of(rests):
                time.sleep(0.01)
            worker.kill()
            assert asked.result().json() == first.json()
    assert not requests_of(rests)
    assert not worker.is_running()


def test_monai_labels_own_client_gets_a_label_map(server, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(CLIENTS)
    # it needs cgi, which Python 3.13 lacks
    monai_label = pytest.importorskip("monailabel.client")
    _, client = server
    label = monai_label.MONAILabelClient(str(client.base_url), tmpdir=str(tmp_path))
    told = label.info()
    assert told["labels"] == list(hip.classes) and told["models"]["hip"]["dimension"] == 2
    file = pictures(tmp_path / "images", 1)[0]
    image, params = label.infer("hip", "", {}, file=str(file))
    values, counts = np.unique(np.asarray(Image.open(image)), return_counts=True)
    assert params["label_names"] == {name: k for k, name in enumerate(hip.classes, 1)}
    areas = {row["class"]: row["area"] for row in params["measurements"]}
    assert dict(zip(values, counts, strict=True)).get(3, 0) == areas["right_femur"]
    with pytest.raises(monai_label.client.MONAILabelClientException) as refused:
        label.infer("hip", "1.2.3", {})
    assert "1.2.3" in json.loads(refused.value.msg.partition("Response: ")[2])["detail"]
