"""Published weights from a stand-in for the Hugging Face hub, over HTTP."""

import hashlib
import os
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from parity import TIMM_SPECS, state_from_names
from safetensors.numpy import save

from transfuse_keras.files import write_json
from transfuse_keras.model.initial_weights import pin_downloads
from transfuse_keras.runs.settings import Settings, describe_settings, read_settings
from transfuse_keras.tasks import Recipe, skin
from transfuse_keras.weights import PUBLISHED
from transfuse_keras.weights.hub import can_fetch, download, pin

ROOT = Path(__file__).parents[2]
CNN, VIT = "resnet18", "deit_tiny_patch16_224"


class Hub(BaseHTTPRequestHandler):
    """What huggingface_hub asks of a hub to fetch one file."""

    files, etags = {}, {}

    def do_HEAD(self):
        self.answer(send=False)

    def do_GET(self):
        self.answer(send=True)

    def answer(self, send):
        *_, repository, _, revision, file = self.path.split("/")
        self.server.asked.append((self.command, repository, revision, file))
        content = self.files.get(repository)
        self.send_response(200 if content else 404)
        self.send_header("X-Repo-Commit", "0" * 40 if revision == "main" else revision)
        self.send_header("ETag", f'"{self.etags.get(repository, repository)}"')
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        if send and content:
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub():
    """A stand-in for the Hugging Face hub on this machine; `.asked` lists the requests."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The hub's cache with one commit; `.asked` lists the revisions, `.file` is what it gives."""
    asked, file = [], tmp_path / "snapshots" / COMMIT / "model.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")

    def fetch(repository, name, revision):
        asked.append((repository, revision))
        return str(file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    return SimpleNamespace(asked=asked, file=file)


@pytest.fixture
def used(hub, tmp_path, monkeypatch):
    """The stand-in, used by this process, whose cache is `tmp_path`."""
    address = f"http://127.0.0.1:{hub.server_port}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", address)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return hub


def test_a_file_that_is_not_what_the_hub_told_of_is_refused(used, monkeypatch):
    name, told = f"{CNN}.tv_in1k", hashlib.sha256(b"weights").hexdigest()
    monkeypatch.setattr(Hub, "etags", {name: told})
    monkeypatch.setattr(Hub, "files", {name: b"other weights"})
    with pytest.raises(ValueError, match=f"blobs/{told}: .*SHA-256") as error:
        download([name])
    Path(str(error.value).partition(": ")[0]).unlink()  # as the error says
    monkeypatch.setattr(Hub, "files", {name: b"weights"})
    (file,) = download([name])
    assert file.read_bytes() == b"weights"


def test_the_hub_is_asked_for_weights_without_fetching_them(used, tmp_path):
    names = [f"{CNN}.tv_in1k", f"{VIT}.fb_in1k"]
    Hub.files = dict.fromkeys(names[:1], b"weights")
    assert can_fetch(names[:1]) and not can_fetch(names)
    assert {request for request, *_ in used.asked} == {"HEAD"}
    revision = PUBLISHED[names[1]].revision
    cached = tmp_path / f"models--timm--{names[1]}" / "snapshots" / revision / "model.safetensors"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"weights")
    assert can_fetch(names)


COMMIT, UNPINNED = "c0ffee" * 6 + "beef", "vgg16.tv_in1k"


def test_a_first_download_is_recorded_and_a_repeat_is_held_to_it(cache, capsys):
    assert PUBLISHED[UNPINNED].revision == "main"
    pins = pin([UNPINNED])
    digest = hashlib.sha256(b"weights").hexdigest()
    assert pins == {UNPINNED: {"revision": COMMIT, "sha256": digest}}
    assert digest in capsys.readouterr().out  # trusted, and said so
    assert download([UNPINNED], pins) == [cache.file]
    assert cache.asked == [(f"timm/{UNPINNED}", "main"), (f"timm/{UNPINNED}", COMMIT)]
    cache.file.write_bytes(b"other weights")
    with pytest.raises(ValueError, match="model.safetensors: .*SHA-256"):
        download([UNPINNED], pins)


def test_a_digest_in_the_table_is_checked(cache, monkeypatch):
    known = replace(PUBLISHED[UNPINNED], sha256=hashlib.sha256(b"weights").hexdigest())
    monkeypatch.setitem(PUBLISHED, UNPINNED, known)
    assert download([UNPINNED]) == [cache.file]
    cache.file.write_bytes(b"other weights")
    with pytest.raises(ValueError, match="model.safetensors: .*SHA-256"):
        pin([UNPINNED])


def test_a_training_keeps_what_it_downloaded(cache, tmp_path):
    settings = Settings(skin, weights="imagenet", recipe=Recipe("Ti"))
    settings = replace(settings, downloads=pin_downloads(settings))
    assert settings.downloads.keys() == {f"{CNN}.tv_in1k", f"{VIT}.fb_in1k"}
    write_json(tmp_path / "config.json", describe_settings(settings))
    again = read_settings(tmp_path / "config.json")
    cache.file.write_bytes(b"other weights")
    assert pin_downloads(again) == settings.downloads  # of the first training
    assert pin_downloads(Settings(skin)) is None


LOAD = """
import sys
import numpy as np
from conftest import SMALLEST
from transfuse_keras import TransFuse
from transfuse_keras.weights import official_state
for line in sys.stdin:
    try:
        model = TransFuse(SMALLEST, (32, 32, 3), weights="imagenet")
        np.savez(line.strip(), **official_state(model))
        print("loaded", flush=True)
    except ValueError as error:
        print(error, flush=True)
"""


@pytest.fixture
def load(hub, tmp_path):
    """A function that loads published weights from the hub, or a cache of its own, into a file, in
    another process: Returns: what that said."""
    environment = {
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
        "HF_HOME": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    }
    with subprocess.Popen(
        [sys.executable, "-c", LOAD],
        cwd=tmp_path,
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def ask(name):
            print(name, file=process.stdin, flush=True)
            return process.stdout.readline()

        yield ask
        process.stdin.close()


@pytest.mark.slow
def test_imagenet_weights_come_from_the_hub_and_then_from_its_cache(tmp_path, hub, load):
    states = {name: state_from_names(TIMM_SPECS[name], seed=3) for name in (CNN, VIT)}
    names = {branch: f"{branch}.{tag}" for branch, tag in ((CNN, "tv_in1k"), (VIT, "fb_in1k"))}
    endpoint = f"http://127.0.0.1:{hub.server_port}"

    Hub.files = {names[CNN]: save(states[CNN])}
    message = load("refused.npz")
    revision = PUBLISHED[names[VIT]].revision
    assert f"{names[VIT]} could not be downloaded" in message
    assert f"{endpoint}/timm/{names[VIT]}/resolve/{revision}/model.safetensors" in message
    assert f" {names[VIT]}.safetensors " in message and "--weights DIR" in message

    Hub.files = {names[branch]: save(states[branch]) for branch in names}
    assert load("loaded.npz") == "loaded\n"
    for name in names.values():
        assert ("GET", name, PUBLISHED[name].revision, "model.safetensors") in hub.asked

    Hub.files, hub.asked[:] = {}, []
    assert load("cached.npz") == "loaded\n" and not hub.asked

    for file in ("loaded.npz", "cached.npz"):
        loaded = np.load(tmp_path / file)
        np.testing.assert_array_equal(loaded["resnet.conv1.weight"], states[CNN]["conv1.weight"])
        qkv = "blocks.0.attn.qkv.weight"
        np.testing.assert_array_equal(loaded[f"transformer.{qkv}"], states[VIT][qkv])
