"""Videos and cameras: a mask for each frame, and the same video with outlines."""

from dataclasses import asdict

import cv2
import numpy as np
import pytest
from data.files import save

from transfuse_keras.errors import InputError
from transfuse_keras.files import write_json
from transfuse_keras.inference import predict_files as module
from transfuse_keras.inference import video
from transfuse_keras.inference.predict_files import predict_files
from transfuse_keras.inference.predictor import Predictor
from transfuse_keras.inference.progress import with_progress
from transfuse_keras.metrics import dice
from transfuse_keras.tasks import polyp, prostate

SIZE, RATE, FRAMES = (48, 64), 12.5, 5


def square(i):
    """Frame i, BGR: a red square that moves to the right."""
    frame = np.full((*SIZE, 3), 30, "uint8")
    frame[8:32, 4 + 6 * i : 28 + 6 * i] = (0, 0, 255)
    return frame


@pytest.fixture
def film(tmp_path):
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), RATE, SIZE[::-1])
    for i in range(FRAMES):
        writer.write(square(i))
    writer.release()
    return path


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The folder of a model that finds red."""

    def find(images):
        red, green = images[..., :1].astype("float32"), images[..., 1:2].astype("float32")
        return np.clip((red - green) / 255, 0, 1)

    folder = tmp_path / "run"
    folder.mkdir()
    write_json(folder / "config.json", {"schema": 1, "task": asdict(polyp), "recipe": {}})
    monkeypatch.setattr(module, "load_predictor", lambda *_: Predictor(SIZE, 3, 1, find))
    return folder


def check(out, name, count):
    masks = sorted((out / name).iterdir())
    assert [path.name for path in masks] == [f"{i:06}.png" for i in range(1, count + 1)]
    for i, path in enumerate(masks):
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert set(np.unique(mask)) == {0, 255}
        assert dice(square(i)[..., 2] == 255, mask > 0) > 0.97
    drawn = cv2.VideoCapture(str(out / f"{name}_overlay.mp4"))
    frames = [drawn.read()[1] for _ in range(count)]
    assert not drawn.read()[0]
    for i, frame in enumerate(frames):  # BGR: magenta where the square begins, red inside it
        assert frame.shape == (*SIZE, 3)
        blue, green, red = frame[20, 4 + 6 * i].astype(int)
        assert min(blue, red) > green + 60
        blue, green, red = frame[20, 16 + 6 * i].astype(int)
        assert red > 150 and max(blue, green) < 100
    return drawn.get(cv2.CAP_PROP_FPS)


def test_every_frame_of_a_video_gets_a_mask_and_an_outline(film, run, tmp_path):
    save(tmp_path / "a.png", square(0)[..., ::-1])
    out = tmp_path / "out"
    assert predict_files(run, [film, tmp_path / "a.png"], out) == 0
    assert check(out, "film", FRAMES) == pytest.approx(RATE, rel=0.01)
    assert (out / "a.png").is_file() and not list(out.glob(".*"))
    assert predict_files(run, [film], tmp_path / "plain", overlays=False) == 0
    assert [path.name for path in (tmp_path / "plain").iterdir()] == ["film"]


def test_what_is_no_video_is_told_and_a_film_cut_short_counts(film, run, tmp_path, caplog):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    content = film.read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) // 2])
    out = tmp_path / "out"
    assert predict_files(run, [tmp_path / "broken.mp4", film], out) == 1
    assert any("broken.mp4" in line for line in caplog.messages)
    assert not (out / "broken").exists() and (out / "film_overlay.mp4").is_file()
    caplog.clear()
    assert predict_files(run, [tmp_path / "cut.avi"], out) == 1
    assert any("cut.avi" in line for line in caplog.messages)


class Camera:
    """Three frames, then Ctrl-C."""

    def __init__(self, source):
        assert source == 2
        self.count = 0

    def isOpened(self):
        return True

    def get(self, name):
        return -1.0  # as many drivers do

    def read(self):
        if self.count == 3:
            raise KeyboardInterrupt
        self.count += 1
        return True, square(self.count - 1)

    def release(self):
        pass


@pytest.mark.parametrize("given", ["2", "camera:2"])
def test_a_camera_is_read_until_it_is_interrupted(given, run, tmp_path, monkeypatch):
    opened = cv2.VideoCapture
    monkeypatch.setattr(video.cv2, "VideoCapture", Camera)
    assert predict_files(run, [given], tmp_path / "out") == 0
    monkeypatch.setattr(video.cv2, "VideoCapture", opened)
    assert check(tmp_path / "out", "camera-2", 3) == video.USUAL_RATE


def test_a_file_of_a_number_is_no_camera(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "3").mkdir()
    films, rest = video.split_films(["3", "4", "a.mp4"])
    assert [film.name for film in films] == ["camera-4"] and rest == ["3", "a.mp4"]


def test_films_are_refused_before_anything_is_written(film, run, tmp_path):
    (tmp_path / "deep").mkdir()
    other = tmp_path / "deep" / "film.mov"
    other.write_bytes(film.read_bytes())
    out = tmp_path / "out"
    for arguments, word in (
        ({"inputs": [film, other]}, "rename"),
        ({"inputs": [film], "measure": True}, "film.avi"),
        ({"inputs": [film], "task": prostate}, "volumes"),
    ):
        with pytest.raises(InputError, match=word):
            predict_files(run, **arguments, out=out)
    assert not out.exists()


def test_the_bar_tells_the_files_that_are_left(monkeypatch, capsys):
    import rich.progress

    shown = []
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    update = rich.progress.Progress.update
    monkeypatch.setattr(
        rich.progress.Progress,
        "update",
        lambda self, *args, **given: shown.append(given["left"]) or update(self, *args, **given),
    )
    assert list(with_progress(20, "files", 8)) == [0, 8, 16]
    assert shown == [12, 4, 0]
    assert "files left" in capsys.readouterr().out
